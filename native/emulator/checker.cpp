#include "emulator/checker.h"

#include <link.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "emulator/fiber.h"
#include "emulator/memory.h"
#include "emulator/report.h"
#include "emulator/traffic.h"

namespace rl::emulator {
namespace {

enum Flags : uint8_t { kLent = 1, kWritten = 2, kByAtomic = 4, kInFlight = 8 };

/// Who touched a byte last: a write, and two reads by different threads (of different warps where there were some).
struct Cell {
  uint32_t write, read1, read2;  // clocks; 0: never
  uint16_t writer, reader1, reader2;
  uint8_t flags;
  uint8_t unused;
};

/// The writer where threads of several warps added atomically: behind it is only who is behind a barrier of the block.
constexpr uint16_t kMany = 0xffff;

/// An access is ordered before the running thread's next one if the clock has passed one of these since.
uint32_t now = 1, launch_start, block_start, barrier_start;
uint32_t warp_barriers[32];

Cell *cells_of(const Arena &arena) {
  void *cells = mmap(nullptr, arena.capacity * sizeof(Cell), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (cells == MAP_FAILED) std::abort();  // address space only
  return static_cast<Cell *>(cells);
}

/// Null: in none of the GPU's memories.
Cell *cell(const void *p) {
  static Cell *const global = cells_of(global_memory()), *const pinned = cells_of(pinned_memory()),
                     *const shared = cells_of(shared_memory());
  const uint8_t *at = static_cast<const uint8_t *>(p);
  if (global_memory().holds(p)) return global + (at - global_memory().base);
  if (shared_memory().holds(p)) return shared + (at - shared_memory().base);
  if (pinned_memory().holds(p)) return pinned + (at - pinned_memory().base);
  return nullptr;
}

/// Blocks that are lent, for messages.
std::map<const uint8_t *, size_t> &blocks = *new std::map<const uint8_t *, size_t>;

std::string near(const void *p) {
  const uint8_t *at = static_cast<const uint8_t *>(p);
  auto block = blocks.upper_bound(at);
  if (block == blocks.begin()) return "before all blocks";
  --block;
  return "offset " + std::to_string(at - block->first) + " of a block of " + std::to_string(block->second) + " bytes";
}

using Range = std::pair<const char *, const char *>;

/// This library's own data: the emulator's state, and constants of kernels.
bool is_own_data(const void *p) {
  static const std::vector<Range> ranges = [] {
    std::vector<Range> found;
    dl_iterate_phdr(
        [](dl_phdr_info *info, size_t, void *out) {
          std::vector<Range> loaded;
          bool own = false;
          for (int i = 0; i < info->dlpi_phnum; i++) {
            const auto &header = info->dlpi_phdr[i];
            if (header.p_type != PT_LOAD) continue;
            const char *begin = reinterpret_cast<const char *>(info->dlpi_addr + header.p_vaddr);
            loaded.push_back({begin, begin + header.p_memsz});
            const char *here = reinterpret_cast<const char *>(&now);
            own |= here >= loaded.back().first && here < loaded.back().second;
          }
          if (own) *static_cast<std::vector<Range> *>(out) = loaded;
          return 0;
        },
        &found);
    return found;
  }();
  for (const Range &range : ranges) {
    if (p >= range.first && p < range.second) return true;
  }
  return false;
}

int warp_of(int thread) { return thread / 32; }

/// Whether an access of `thread` at `clock` needs no care any more.
bool is_past(uint32_t clock, int thread) {
  if (clock < launch_start) return true;
  if (clock < block_start) return false;  // another block of this launch
  const int me = this_thread->number;
  return thread == me || clock < barrier_start ||
         (warp_of(thread) == warp_of(me) && clock < warp_barriers[warp_of(me)]);
}

void race(const char *file, int line, const void *code, const char *mine, const char *theirs, uint32_t clock,
          int thread) {
  if (clock < block_start) {
    error("race-between-blocks", file, line, std::string(mine) + " after a " + theirs + " of another block", code);
  } else {
    error("race", file, line,
          std::string(mine) + " after a " + theirs + " of " +
              (thread == kMany ? "several threads" : "thread " + std::to_string(thread)) +
              " without a barrier in between",
          code);
  }
}

void note_read(Cell &c, int me) {
  const bool past1 = c.read1 < barrier_start, past2 = c.read2 < barrier_start;
  if (past1 || c.reader1 == me) {
    c.read1 = now;
    c.reader1 = static_cast<uint16_t>(me);
  } else if (past2 || c.reader2 == me || warp_of(c.reader1) == warp_of(me) || warp_of(c.reader2) != warp_of(me)) {
    // keeps reader1, which is of another warp if there was one
    if (warp_of(c.reader1) == warp_of(me) && !past2 && c.reader2 != me) return;
    c.read2 = now;
    c.reader2 = static_cast<uint16_t>(me);
  }
}

}  // namespace

void access(const void *p, size_t bytes, Access kind, const char *file, int line) {
  if (checked) checker::touch(p, bytes, kind, file, line, nullptr);
}

namespace checker {

void begin_launch() {
  launch_start = ++now;
  block_start = barrier_start = now;
}

void begin_block() {
  block_start = barrier_start = ++now;
  std::memset(warp_barriers, 0, sizeof warp_barriers);
}

void barrier() { barrier_start = ++now; }

void warp_barrier(int warp) { warp_barriers[warp] = ++now; }

static void check(const void *p, size_t bytes, Access kind, const char *file, int line, const void *code) {
  if (!this_thread) return;  // host code
  if (is_stack(p)) return;
  Cell *cells = cell(p);
  if (!cells) {
    if (is_own_data(p)) return;
    error("wild-address", file, line, "an address in none of the GPU's memories", code);
    abandon();
  }
  if (reinterpret_cast<uintptr_t>(p) % bytes != 0) {
    error("misaligned", file, line, std::to_string(bytes) + " bytes at an address that is no multiple of them", code);
  }
  const int me = this_thread->number;
  const char *mine = kind == Access::read ? "read" : kind == Access::write ? "write" : "atomic";
  const bool shared = shared_memory().holds(p);
  for (size_t i = 0; i < bytes; i++) {
    Cell &c = cells[i];
    if (!(c.flags & kLent)) {
      error(shared ? "out-of-bounds-shared" : "out-of-bounds", file, line,
            std::string(mine) + (shared ? " outside of every array" : " at " + near(static_cast<const char *>(p) + i)),
            code);
      abandon();  // it cannot be carried out
    }
    if (c.flags & kInFlight)
      error("copy-race", file, line, std::string(mine) + " of bytes that cp.async is copying", code);
    if (kind != Access::write && !(c.flags & kWritten)) {
      error(shared ? "uninitialised-shared" : "uninitialised", file, line, "read of bytes that nobody wrote", code);
    }
    const bool both_atomic = kind == Access::atomic && (c.flags & kByAtomic), past = is_past(c.write, c.writer);
    if (!both_atomic && !past) race(file, line, code, mine, "write", c.write, c.writer);
    if (kind == Access::read) {
      note_read(c, me);
      continue;
    }
    if (!is_past(c.read1, c.reader1)) race(file, line, code, mine, "read", c.read1, c.reader1);
    if (!is_past(c.read2, c.reader2)) race(file, line, code, mine, "read", c.read2, c.reader2);
    if (past || !both_atomic) {
      c.write = now;
      c.writer = static_cast<uint16_t>(me);
    } else if (warp_of(c.writer) != warp_of(me)) {
      c.writer = kMany;  // and the older time stays: what is not behind that one is not behind both
    }
    c.read1 = c.read2 = 0;
    c.flags = static_cast<uint8_t>(kLent | kWritten | (kind == Access::atomic ? kByAtomic : 0));
  }
}

void touch(const void *p, size_t bytes, Access kind, const char *file, int line, const void *code) {
  check(p, bytes, kind, file, line, code);
  if (this_thread) traffic::note(p, bytes, kind, file, line, code);
}

void copy_starts(const void *dst, size_t bytes, const char *file, int line) {
  if (!checked) return;
  touch(dst, bytes, Access::write, file, line, nullptr);
  Cell *cells = cell(dst);
  for (size_t i = 0; i < bytes; i++) cells[i].flags |= kInFlight;
}

void copy_ends(const void *dst, size_t bytes, const char *file, int line) {
  if (!checked) return;
  Cell *cells = cell(dst);
  for (size_t i = 0; i < bytes; i++) cells[i].flags &= static_cast<uint8_t>(~kInFlight);
  check(dst, bytes, Access::write, file, line, nullptr);
}

void lend(const void *block, size_t bytes) {
  if (!checked) return;
  const uint8_t *at = static_cast<const uint8_t *>(block);
  const auto known = blocks.find(at);
  if (known != blocks.end()) {
    std::memset(static_cast<void *>(cell(block)), 0, known->second * sizeof(Cell));
    blocks.erase(known);
  }
  if (bytes == 0) return;
  blocks[at] = bytes;
  Cell *cells = cell(block);
  for (size_t i = 0; i < bytes; i++) cells[i] = Cell{0, 0, 0, 0, 0, 0, kLent, 0};
}

void written(const void *p, size_t bytes) {
  if (!checked) return;
  Cell *cells = cell(p);
  for (size_t i = 0; i < bytes; i++) cells[i].flags |= kWritten;
}

void copied(const void *dst, const void *src, size_t bytes) {
  if (!checked) return;
  Cell *to = cell(dst);
  const Cell *from = cell(src);
  for (size_t i = 0; i < bytes; i++)
    to[i].flags = static_cast<uint8_t>((to[i].flags & ~kWritten) | (from[i].flags & kWritten));
}

bool is_lent(const void *p, size_t bytes) {
  if (!checked) return true;
  const Cell *cells = cell(p);
  if (!cells) return false;
  for (size_t i = 0; i < bytes; i++) {
    if (!(cells[i].flags & kLent)) return false;
  }
  return true;
}

void begin_shared(size_t dynamic) {
  if (!checked) return;
  Cell *cells = cell(shared_memory().base);
  std::memset(static_cast<void *>(cells), 0, (shared_used() + 256) * sizeof(Cell));
  shared_array(shared_memory().base, dynamic);
}

void shared_array(const void *array, size_t bytes) {
  if (!checked) return;
  Cell *cells = cell(array);
  for (size_t i = 0; i < bytes; i++) cells[i] = Cell{0, 0, 0, 0, 0, 0, kLent, 0};
}

}  // namespace checker
}  // namespace rl::emulator
