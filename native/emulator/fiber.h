// Threads of a block as fibers: stacks that are switched by hand (x86-64), a few nanoseconds each.
#pragma once

#include <string>
#include <vector>

#include "emulator/block.h"

namespace rl::emulator {

enum class State : uint8_t { ready, waiting, done };

/// A copy from global to shared memory that has been started and not waited for.
struct Copy {
  uint8_t *dst;
  const uint8_t *src;
  size_t bytes;
  bool valid;  // else zeros
  int group;
  const char *file;
  int line;
};

struct Fiber {
  Thread thread;
  void *stack_pointer;
  State state;
  const char *waits_for;  // "__syncthreads", ...
  unsigned mask;
  const char *file;
  int line;
  std::vector<Copy> copies;
  int group;
};

/// The running thread's fiber.
Fiber &self();
Fiber &fiber(int thread);
int threads_of_block();
int threads_alive();
/// Stops the running thread until another wakes it.
void park(const char *waits_for, unsigned mask, const char *file, int line);
void wake(int thread);
/// Ends the block at once, from one of its threads: after an access that cannot be carried out.
[[noreturn]] void abandon();
uint64_t random_number();
const Settings &settings();
/// Whether an address is in the stack of a fiber.
bool is_stack(const void *p);

}  // namespace rl::emulator
