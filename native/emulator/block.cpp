// The scheduler: blocks one after the other, threads of a block as fibers that give way at barriers and warp collectives.
#include "emulator/block.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>

#include "emulator/checker.h"
#include "emulator/fiber.h"
#include "emulator/memory.h"
#include "emulator/registry.h"
#include "emulator/report.h"
#include "emulator/traffic.h"
#include "emulator/warp.h"

// Saves what a call preserves on this stack, and goes on where the other stack was left.
extern "C" void rl_emulator_switch(void **from, void *to);
asm(R"(
.text
.hidden rl_emulator_switch
.globl rl_emulator_switch
.type rl_emulator_switch,@function
rl_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size rl_emulator_switch, .-rl_emulator_switch
)");

namespace rl::emulator {

Thread *this_thread;
uint3 this_block;
dim3 block_size, grid_size;

namespace {

constexpr int kMostThreads = 1024;
constexpr size_t kStack = 64 << 10;

Fiber fibers[kMostThreads];
int count, alive, at_barrier;
const char *barrier_file;
int barrier_line;
bool abandoned;
char *stacks;
void *main_stack;
// Like all of the emulator's state it is never destroyed: a process may be told to end while a kernel runs.
std::deque<int> &ready = *new std::deque<int>;
Settings current;
uint64_t random_state;
const Launch *launched;

/// The next thread to run; -1 if all wait or are done.
int next() {
  if (ready.empty()) return -1;
  size_t pick = 0;
  if (current.order == Order::random) pick = random_number() % ready.size();
  if (current.order == Order::reverse) pick = ready.size() - 1;
  const int thread = ready[pick];
  if (current.order == Order::forward) {
    ready.pop_front();
  } else {
    ready[pick] = ready.back();
    ready.pop_back();
  }
  return thread;
}

void give_way() {
  Fiber &me = self();
  const int thread = next();
  if (thread == me.thread.number) return;
  void *to = main_stack;
  if (thread >= 0) {
    to = fibers[thread].stack_pointer;
    this_thread = &fibers[thread].thread;
  } else {
    this_thread = nullptr;
  }
  rl_emulator_switch(&me.stack_pointer, to);
}

void fiber_main() {
  launched->kernel->call(launched->kernel->function, launched->values);
  Fiber &me = self();
  if (!me.copies.empty()) {
    error("copy-not-waited-for", me.copies[0].file, me.copies[0].line, "the thread ends with cp.async under way");
  }
  me.state = State::done;
  alive--;
  if (at_barrier && at_barrier == alive) {
    error("divergent-barrier", barrier_file, barrier_line, "a thread ended while others wait here");
    abandon();
  }
  give_way();
  std::abort();  // a fiber that is done is never picked again
}

void start(int thread) {
  Fiber &f = fibers[thread];
  const unsigned x = static_cast<unsigned>(thread);
  f.thread = {uint3{x % block_size.x, x / block_size.x % block_size.y, x / (block_size.x * block_size.y)}, thread};
  f.state = State::ready;
  f.copies.clear();
  f.group = 0;
  // Not all at one distance: stacks 64 KiB apart would fight for the same sets of the cache.
  auto *top = reinterpret_cast<uint64_t *>(stacks + static_cast<size_t>(thread + 1) * kStack) - 1 - thread % 16 * 8;
  *--top = reinterpret_cast<uint64_t>(&fiber_main);
  for (int i = 0; i < 6; i++) *--top = 0;
  f.stack_pointer = top;
  ready.push_back(thread);
}

void report_deadlock() {
  std::map<std::string, int> places;
  const Fiber *first = nullptr;
  for (int i = 0; i < count; i++) {
    const Fiber &f = fibers[i];
    if (f.state == State::done) continue;
    if (!first) first = &f;
    char mask[24] = "";
    if (f.mask) std::snprintf(mask, sizeof mask, " mask %08x", f.mask);
    places[std::string(f.waits_for) + mask + " at " + place(f.file, f.line)]++;
  }
  std::string text = std::to_string(count - alive) + " threads ended";
  for (const auto &entry : places) text += ", " + std::to_string(entry.second) + " wait in " + entry.first;
  error("deadlock", first->file, first->line, text);
}

/// False if the block could not be run to its end.
bool run_block(unsigned number) {
  const unsigned x = grid_size.x, y = grid_size.y;
  this_block = uint3{number % x, number / x % y, number / (x * y)};
  begin_shared(launched->shared);
  checker::begin_block();
  begin_warps(count);
  ready.clear();
  at_barrier = 0;
  alive = count;
  abandoned = false;
  for (int i = 0; i < count; i++) start(i);
  const int first = next();
  this_thread = &fibers[first].thread;
  rl_emulator_switch(&main_stack, fibers[first].stack_pointer);
  this_thread = nullptr;
  traffic::block_meets();
  if (abandoned) return false;
  if (alive > 0) {
    report_deadlock();
    return false;
  }
  return true;
}

}  // namespace

Fiber &self() { return fibers[this_thread->number]; }
Fiber &fiber(int thread) { return fibers[thread]; }
int threads_of_block() { return count; }
int threads_alive() { return alive; }
const Settings &settings() { return current; }

uint64_t random_number() {  // xorshift64
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state >> 8;
}

bool is_stack(const void *p) { return p >= stacks && p < stacks + kStack * kMostThreads; }

void park(const char *waits_for, unsigned mask, const char *file, int line) {
  Fiber &me = self();
  me.state = State::waiting;
  me.waits_for = waits_for;
  me.mask = mask;
  me.file = file;
  me.line = line;
  give_way();
}

void wake(int thread) {
  fibers[thread].state = State::ready;
  ready.push_back(thread);
}

void abandon() {
  abandoned = true;
  void *nowhere;
  this_thread = nullptr;
  rl_emulator_switch(&nowhere, main_stack);
  std::abort();  // nobody comes back here
}

void block_barrier(const char *file, int line) {
  if (at_barrier == 0) {
    barrier_file = file;
    barrier_line = line;
  } else if (barrier_line != line || std::strcmp(barrier_file, file) != 0) {
    error("divergent-barrier", file, line, "other threads wait at " + place(barrier_file, barrier_line));
  }
  if (++at_barrier < alive) {
    park("__syncthreads", 0, file, line);
    return;
  }
  if (alive < count) {
    error("divergent-barrier", file, line,
          "only " + std::to_string(alive) + " of " + std::to_string(count) + " threads reach it");
  }
  at_barrier = 0;
  checker::barrier();
  traffic::block_meets();
  const int me = this_thread->number;
  for (int i = 0; i < count; i++) {
    if (i != me && fibers[i].state == State::waiting) wake(i);  // all that live wait here
  }
  if (current.order != Order::random) return;
  wake(me);  // the last to arrive need not be the first to go on
  give_way();
}

Settings settings_of_environment() {
  Settings s;
  auto is = [](const char *variable, const char *value) {
    const char *found = std::getenv(variable);
    return found && !std::strcmp(found, value);
  };
  if (is("RLHF4J_EMULATOR_ORDER", "reverse")) s.order = Order::reverse;
  if (is("RLHF4J_EMULATOR_ORDER", "random")) s.order = Order::random;
  if (is("RLHF4J_EMULATOR_COPIES", "early")) s.copies = Copies::early;
  if (is("RLHF4J_EMULATOR_COPIES", "random")) s.copies = Copies::random;
  if (const char *seed = std::getenv("RLHF4J_EMULATOR_SEED")) s.seed = std::strtoull(seed, nullptr, 10);
  return s;
}

void run(const Launch &launch, const Settings &settings) {
  launched = &launch;
  current = settings;
  random_state = settings.seed * 0x9E3779B97F4A7C15ull + 77;
  block_size = launch.block;
  grid_size = launch.grid;
  const size_t threads = static_cast<size_t>(launch.block.x) * launch.block.y * launch.block.z;
  begin_report(launch.kernel->name);
  if (threads == 0 || threads > static_cast<size_t>(launch.kernel->threads)) {
    error(
        "bad-launch", nullptr, 0,
        std::to_string(threads) + " threads a block, the kernel is made for " + std::to_string(launch.kernel->threads));
    return;
  }
  if (!stacks) {
    stacks = static_cast<char *>(mmap(nullptr, kStack * kMostThreads, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  }
  count = static_cast<int>(threads);
  checker::begin_launch();
  std::vector<unsigned> order(static_cast<size_t>(launch.grid.x) * launch.grid.y * launch.grid.z);
  for (size_t i = 0; i < order.size(); i++) order[i] = static_cast<unsigned>(i);
  if (settings.order == Order::reverse) std::reverse(order.begin(), order.end());
  if (settings.order == Order::random) {
    for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[random_number() % i]);
  }
  for (unsigned block : order) {
    if (!run_block(block)) return;
  }
}

}  // namespace rl::emulator
