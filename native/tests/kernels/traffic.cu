// Kernels of known traffic, for the test of its counters: a warp each, x and y as long as they read and write.
#include "cuda/device_code.h"

namespace rl::cuda {

// ---- global memory

KERNEL(coalesced, 32, const float *x, float *y) { y[threadIdx.x] = x[threadIdx.x]; }
KERNEL(stride_2, 32, const float *x, float *y) { y[threadIdx.x] = x[threadIdx.x * 2]; }
KERNEL(stride_32, 32, const float *x, float *y) { y[threadIdx.x] = x[threadIdx.x * 32]; }
KERNEL(misaligned_by_4, 32, const float *x, float *y) { y[threadIdx.x] = x[threadIdx.x + 1]; }
KERNEL(broadcast, 32, const float *x, float *y) { y[threadIdx.x] = x[7]; }
KERNEL(vectors, 32, const float *x, float *y) {
  store_vector(reinterpret_cast<float4 *>(y) + threadIdx.x,
               load_vector(reinterpret_cast<const float4 *>(x) + threadIdx.x));
}
KERNEL(halves, 32, const bf16 *x, bf16 *y) { y[threadIdx.x] = x[threadIdx.x]; }
// Two paths with an access each: two requests of 16 lanes.
KERNEL(divergent_halves, 32, const float *x, float *y) {
  if (threadIdx.x < 16) {
    y[threadIdx.x] = x[threadIdx.x];
  } else {
    y[threadIdx.x] = 2 * x[threadIdx.x];
  }
}
// Lanes leave the loop one after the other: 32 requests, of 32, 31, ... 1 lanes.
KERNEL(lanes_leave, 32, const float *x, float *y) {
  float sum = 0;
  for (unsigned i = 0; i <= threadIdx.x; i++) sum += x[i * 32 + threadIdx.x];
  y[threadIdx.x] = sum;
}
// Before the warp meets, lane 0 passes the place once more than the others; after it, all are together again.
KERNEL(meets_again, 32, const float *x, float *y) {
  float sum = 0;
  for (int turn = 0; turn < 2; turn++) {
    for (unsigned i = 0; i < (turn == 0 && threadIdx.x == 0 ? 2u : 1u); i++) sum += x[i * 32 + threadIdx.x];
    __syncwarp();
  }
  y[threadIdx.x] = sum;
}
KERNEL(copies, 32, const float *x, float *y) {
  SHARED(float, s, [128]);
  cp_async16(s + threadIdx.x * 4, x + threadIdx.x * 4, true);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x];
}

// ---- shared memory: rows written along, columns read

template <int kPitch>
DEVICE void transpose(float *y) {
  SHARED(float, s, [32 * kPitch]);
  for (int i = 0; i < 32; i++) s[i * kPitch + lane()] = static_cast<float>(i);
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < 32; i++) sum += s[lane() * kPitch + i];
  y[threadIdx.x] = sum;
}
KERNEL(transpose_unpadded, 32, const float *, float *y) { transpose<32>(y); }
KERNEL(transpose_padded, 32, const float *, float *y) { transpose<33>(y); }

template <class T, int kStride>
DEVICE void shared_vectors(float *y) {
  SHARED(T, s, [32 * kStride]);
  T value{};
  store_vector(s + lane() * kStride, value);
  __syncwarp();
  y[threadIdx.x] = load_vector(s + lane() * kStride).x;
}
KERNEL(shared_8, 32, const float *, float *y) { shared_vectors<float2, 1>(y); }
KERNEL(shared_16, 32, const float *, float *y) { shared_vectors<float4, 1>(y); }
KERNEL(shared_16_stride_2, 32, const float *, float *y) { shared_vectors<float4, 2>(y); }
KERNEL(shared_broadcast, 32, const float *x, float *y) {
  SHARED(float, s, [32]);
  s[lane()] = x[lane()];
  __syncwarp();
  y[threadIdx.x] = s[3];
}

// Rows of 16 bytes, kPitch bf16 apart: 64 all in the same banks, 72 in none of each other's.
template <int kPitch>
DEVICE void load_matrices(float *y) {
  SHARED(bf16, s, [32 * kPitch]);
  for (int i = lane(); i < 32 * kPitch; i += 32) s[i] = from_f32<bf16>(1.0f);
  __syncwarp();
  uint32_t r[4];
  ldmatrix_x4(r, s + lane() * kPitch);
  y[threadIdx.x] = static_cast<float>(r[0] & 1);
}
KERNEL(matrices_unpadded, 32, const float *, float *y) { load_matrices<64>(y); }
KERNEL(matrices_padded, 32, const float *, float *y) { load_matrices<72>(y); }

}  // namespace rl::cuda
