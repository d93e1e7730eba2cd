// A block of threads on the host: a fiber for each, run until it has to wait for others. One block at a time, so a launch is
// deterministic; the order of threads and blocks, and the moment when asynchronous copies happen, are the run's to choose.
#pragma once

#include <vector_types.h>

#include <cstddef>
#include <cstdint>

namespace rl::emulator {

struct Kernel;

struct Thread {
  uint3 index;
  int number;  // in its block
};
// Plain globals, for kernels read them all the time; launch() runs one launch at a time.
extern Thread *this_thread;
extern uint3 this_block;
extern dim3 block_size, grid_size;

enum class Order { forward, reverse, random };
enum class Copies { late, early, random };
struct Settings {
  Order order = Order::forward;
  Copies copies = Copies::late;
  uint64_t seed = 1;
};
/// RLHF4J_EMULATOR_ORDER (forward, reverse, random), RLHF4J_EMULATOR_COPIES (late, early, random), RLHF4J_EMULATOR_SEED.
Settings settings_of_environment();

struct Launch {
  const Kernel *kernel;
  dim3 grid, block;
  size_t shared;  // bytes of dynamic shared memory
  void **values;
};
/// Runs a whole grid. What goes wrong is told to report.h; the first fatal error ends the launch.
void run(const Launch &launch, const Settings &settings);

// ---- what kernels call
void block_barrier(const char *file, int line);
void warp_barrier(unsigned mask, const char *file, int line);
enum class Shuffle { index, up, down, exclusive_or };
uint64_t warp_shuffle(Shuffle kind, unsigned mask, uint64_t value, int x, int width, const char *file, int line);
unsigned warp_ballot(unsigned mask, bool predicate, const char *file, int line);
void mma_m16n8k16_bf16(float *d, const uint32_t *a, const uint32_t *b, const char *file, int line);
void mma_m16n8k16_f16(float *d, const uint32_t *a, const uint32_t *b, const char *file, int line);
void mma_m16n8k8_tf32(float *d, const uint32_t *a, const uint32_t *b, const char *file, int line);
void ldmatrix_x4(uint32_t *r, const void *p, bool transposed, const char *file, int line);
void copy_async(void *dst, const void *src, size_t bytes, bool valid, const char *file, int line);
void copy_async_commit();
void copy_async_wait(int groups_left);

void *shared_array(const void *key, size_t bytes, const char *name);
void *dynamic_shared();

enum class Access { read, write, atomic };
/// An access that the compiler's instrumentation does not see. Nothing without the checker.
void access(const void *p, size_t bytes, Access kind, const char *file, int line);

}  // namespace rl::emulator
