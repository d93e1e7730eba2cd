// Kernels for the checker's test: each wrong in one way that real kernels get wrong, beside a right one where the difference is
// small. x and y are vectors; the test says how long.
#include "cuda/device_code.h"

namespace rl::cuda {

constexpr int kThreads = 128;

// ---- shared memory and barriers

KERNEL(reverse, kThreads, const float *x, float *y) {  // right
  SHARED(float, s, [kThreads]);
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = s[kThreads - 1 - threadIdx.x];
}
KERNEL(barrier_removed, kThreads, const float *x, float *y) {
  SHARED(float, s, [kThreads]);
  s[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = s[kThreads - 1 - threadIdx.x];
}
KERNEL(second_barrier_removed, kThreads, const float *x, float *y) {
  SHARED(float, s, [kThreads]);
  float sum = 0;
  for (int i = 0; i < 2; i++) {
    s[threadIdx.x] = x[threadIdx.x] + static_cast<float>(i);
    __syncthreads();
    sum += s[kThreads - 1 - threadIdx.x];
  }
  y[threadIdx.x] = sum;
}
KERNEL(warp_exchange, kThreads, const float *x, float *y) {  // right
  SHARED(float, s, [kThreads]);
  s[threadIdx.x] = x[threadIdx.x];
  __syncwarp();
  y[threadIdx.x] = s[warp() * 32 + 31 - lane()];
}
KERNEL(shuffle_as_barrier, kThreads, const float *x, float *y) {  // a shuffle orders no memory
  SHARED(float, s, [kThreads]);
  s[threadIdx.x] = x[threadIdx.x];
  const float other = __shfl_xor_sync(kFullWarp, x[threadIdx.x], 1);
  y[threadIdx.x] = s[warp() * 32 + 31 - lane()] + other;
}
KERNEL(warp_barrier_for_block, kThreads, const float *x, float *y) {
  SHARED(float, s, [kThreads]);
  s[threadIdx.x] = x[threadIdx.x];
  __syncwarp();
  y[threadIdx.x] = s[kThreads - 1 - threadIdx.x];
}
KERNEL(index_off_by_one, kThreads, const float *x, float *y) {
  SHARED(float, s, [kThreads]);
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = s[kThreads - threadIdx.x];
}
KERNEL(dynamic_too_small, kThreads, const float *x, float *y) {
  SHARED_DYNAMIC(bytes);
  float *s = reinterpret_cast<float *>(bytes);
  s[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = s[threadIdx.x];
}
KERNEL(half_initialised, kThreads, float *y) {
  SHARED(float, s, [kThreads]);
  if (threadIdx.x % 2) s[threadIdx.x] = 1;
  y[threadIdx.x] = s[threadIdx.x];
}

// ---- divergence

KERNEL(barrier_in_branch, kThreads, float *y) {
  if (threadIdx.x < 64) __syncthreads();
  y[threadIdx.x] = 1;
}
KERNEL(two_barriers, kThreads, float *y) {
  if (threadIdx.x < 64) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  y[threadIdx.x] = 1;
}
KERNEL(shuffle_in_branch, kThreads, float *y) {
  float v = static_cast<float>(threadIdx.x);
  if (lane() < 16) v = __shfl_xor_sync(kFullWarp, v, 1);
  y[threadIdx.x] = v;
}
KERNEL(shuffle_from_absent, kThreads, float *y) {
  float v = static_cast<float>(threadIdx.x);
  if (lane() < 16) v = __shfl_xor_sync(0x0000ffffu, v, 16);
  y[threadIdx.x] = v;
}
KERNEL(lane_not_in_mask, kThreads, float *y) {
  y[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, static_cast<float>(threadIdx.x), 1);
}

// ---- global memory

KERNEL(missing_guard, kThreads, const float *x, float *y) { y[thread_of_grid()] = x[thread_of_grid()]; }
KERNEL(wrong_guard, kThreads, const float *x, float *y, int64_t n) {
  if (thread_of_grid() <= n) y[thread_of_grid()] = x[thread_of_grid()];
}
KERNEL(blocks_share, kThreads, float *y) { y[threadIdx.x] = static_cast<float>(blockIdx.x); }
KERNEL(blocks_add, kThreads, float *y) { atomicAdd(y, 1.0f); }  // right
KERNEL(atomic_and_plain, kThreads, float *y) {
  atomicAdd(y, 1.0f);
  if (threadIdx.x == 0) y[0] = 0;
}
KERNEL(blocks_add_plainly, kThreads, float *y) { y[threadIdx.x] += 1; }
KERNEL(adds_to_what_nobody_wrote, kThreads, const float *x, float *y) { add_unordered(y, x[threadIdx.x]); }
KERNEL(sum_read_behind_own_barrier, kThreads, float *y) {  // right in one block; others may still add
  add_unordered(y, 1);
  __syncthreads();
  if (threadIdx.x == 1) y[1] = y[0];
}
KERNEL(sum_read_by_who_added_last, kThreads, float *y) {
  add_unordered(y, 1);
  if (threadIdx.x == kThreads - 1) y[1] = y[0];
}
KERNEL(reads_what_nobody_wrote, kThreads, const float *x, float *y) { y[threadIdx.x] = x[threadIdx.x]; }
KERNEL(misaligned_vector, kThreads, const float *x, float *y) {
  const float4 v = load_vector(reinterpret_cast<const float4 *>(x + threadIdx.x));
  y[threadIdx.x] = v.x + v.w;
}
KERNEL(wild_pointer, kThreads, float *y) { *reinterpret_cast<float *>(0x1000) = y[0]; }

// ---- asynchronous copies

template <int kLeft, bool kBarrier>
DEVICE void pipeline(const float *x, float *y) {  // two groups of copies, the first of them read
  SHARED(float, s, [2][kThreads]);
  for (int i = 0; i < 2; i++) {
    if (threadIdx.x < kThreads / 4) cp_async16(&s[i][threadIdx.x * 4], x + i * kThreads + threadIdx.x * 4, true);
    cp_async_commit();
  }
  cp_async_wait<kLeft>();
  if (kBarrier) __syncthreads();
  y[threadIdx.x] = s[0][kThreads - 1 - threadIdx.x];
  cp_async_wait<0>();
}
KERNEL(copy_waited_for, kThreads, const float *x, float *y) { pipeline<1, true>(x, y); }  // right
KERNEL(weaker_wait, kThreads, const float *x, float *y) { pipeline<2, true>(x, y); }
KERNEL(copy_without_barrier, kThreads, const float *x, float *y) { pipeline<1, false>(x, y); }
/// A dropout on the way, as lora_gradients has it: each thread drops in a piece of what was copied, before the block reads it.
template <int kLeft, int kPieceOf>
DEVICE void drop_in_copy(const float *x, float *y) {
  SHARED(float, s, [kThreads]);
  const bool copies = threadIdx.x < kThreads / 4;
  if (copies) cp_async16(&s[threadIdx.x * 4], x + threadIdx.x * 4, true);
  cp_async_commit();
  cp_async_wait<kLeft>();
  if (copies) s[(threadIdx.x + kPieceOf) % (kThreads / 4) * 4] = 0;
  __syncthreads();
  y[threadIdx.x] = s[kThreads - 1 - threadIdx.x];
  cp_async_wait<0>();
}
KERNEL(drops_in_own_copy, kThreads, const float *x, float *y) { drop_in_copy<0, 0>(x, y); }  // right
KERNEL(drops_in_anothers_copy, kThreads, const float *x, float *y) { drop_in_copy<0, 1>(x, y); }
KERNEL(drops_under_copy, kThreads, const float *x, float *y) { drop_in_copy<1, 0>(x, y); }
KERNEL(copy_never_waited_for, kThreads, const float *x, float *y) {
  SHARED(float, s, [kThreads]);
  if (threadIdx.x < kThreads / 4) cp_async16(&s[threadIdx.x * 4], x + threadIdx.x * 4, true);
  cp_async_commit();
  y[threadIdx.x] = 0;
}

// ---- sums in no order: as attention_backward_unordered has it, what was staged is added one step later, with one barrier a step

template <int kBuffers, bool kBarrier>
DEVICE void stage_and_add(const float *x, float *y) {
  SHARED(float, s, [kBuffers][kThreads]);
  for (int i = 0; i < 4; i++) {
    if (kBarrier || i == 0) __syncthreads();
    if (i > 0) add_unordered(y + threadIdx.x, s[(i - 1) % kBuffers][kThreads - 1 - threadIdx.x]);
    s[i % kBuffers][threadIdx.x] = x[threadIdx.x];
  }
}
KERNEL(stages_in_turn, kThreads, const float *x, float *y) { stage_and_add<2, true>(x, y); }  // right
KERNEL(stages_in_one_buffer, kThreads, const float *x, float *y) { stage_and_add<1, true>(x, y); }
KERNEL(stages_without_barrier, kThreads, const float *x, float *y) { stage_and_add<2, false>(x, y); }

// ---- tensor cores: C [16,8] = A [16,16] B [8,16]^T, one warp

template <int kShift>
DEVICE void product(const bf16 *a, const bf16 *b, float *c) {
  SHARED(bf16, s, [16][16]);
  for (int i = lane(); i < 256; i += 32) s[i / 16][i % 16] = a[i];
  __syncwarp();
  uint32_t fragment[4];
  ldmatrix_x4(fragment, &s[(lane() + kShift) % 16][lane() / 16 * 8]);
  const int g = lane() / 4, t = lane() % 4;
  const uint32_t *words = reinterpret_cast<const uint32_t *>(b);
  float d[4] = {};
  mma_bf16(d, fragment, words[g * 8 + t], words[g * 8 + t + 4]);
  for (int r = 0; r < 4; r++) c[(g + r / 2 * 8) * 8 + t * 2 + r % 2] = d[r];
}
KERNEL(tile_product, 32, const bf16 *a, const bf16 *b, float *c) { product<0>(a, b, c); }  // right
KERNEL(wrong_fragment, 32, const bf16 *a, const bf16 *b, float *c) { product<8>(a, b, c); }

}  // namespace rl::cuda
