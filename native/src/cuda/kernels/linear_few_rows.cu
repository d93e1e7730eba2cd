// y = x W^T + bias (= or +=) for up to 16 rows of x (decoding), bf16: as fast as W can be read.
// x [T,k], W [n,k], y [T,n]. A block for 16 rows of W, which are operand A of mma.m16n8k16, a warp for each of eight runs of
// columns; 8 or 16 rows of x are operand B. Both come from memory to fragments directly: the order of the contraction is such that
// a lane's share of 32 columns is 8 in a row. The warps' sums are added in their order in shared memory. linear_..._lora: with a
// lora_linear's legs (lora_fragments.h).
// Traffic: W once, 2 bytes a value, past the first-level cache, in which x stays: T k 2 bytes for each block.
#include "cuda/linear_few_rows.h"
#include "cuda/lora_fragments.h"
#include "cuda/op.h"
#if defined(RL_KERNELS)
#include "cuda/sum_place.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kRows = 16;  // of W
constexpr int kSlab = 32;  // columns of two products
constexpr int kSlabs = 2;  // that a warp takes at a time
static_assert(kWarps == kLegParts);

#if defined(RL_KERNELS)

/// A warp's share of 64 columns.
template <int kN>
struct Step {
  uint4 w[kSlabs][2], x[kSlabs][kN];

  /// Columns from `column` on, those from `end` on as zeros; 8 columns lie on one side of it.
  DEVICE_MEMBER void load(const bf16 *const (&rows)[2], const bf16 *const (&xs)[kN], int64_t column, int64_t end) {
#pragma unroll
    for (int s = 0; s < kSlabs; s++) {
      const int64_t at = column + s * kSlab + lane() % 4 * 8;
      const bool inside = at < end;
#pragma unroll
      for (int i = 0; i < 2; i++) {
        w[s][i] = inside ? load_once(reinterpret_cast<const uint4 *>(rows[i] + at)) : make_uint4(0, 0, 0, 0);
      }
#pragma unroll
      for (int n = 0; n < kN; n++) {
        x[s][n] = inside ? load_vector(reinterpret_cast<const uint4 *>(xs[n] + at)) : make_uint4(0, 0, 0, 0);
      }
    }
  }
};

template <class Y, int kN, class WithLegs>
DEVICE void few_rows(const View &y, const View &x, const View &w, const View &bias, bool accumulate,
                     const WithLegs &legs) {
  constexpr int kX = 8 * kN;
  SHARED(float, sums, [kWarps][kX * kRows]);
  constexpr int64_t kWidth = kSlabs * kSlab;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kRows, steps = (x.cols() + kWidth - 1) / kWidth;
  const int64_t begin = warp() * steps / kWarps, end = (warp() + 1) * steps / kWarps;
  // Rows past the last are the last once more; what they give is not stored.
  const bf16 *rows[2], *xs[kN];
#pragma unroll
  for (int i = 0; i < 2; i++) rows[i] = w.row<bf16>(smaller(first + i * 8 + lane() / 4, w.rows() - 1));
#pragma unroll
  for (int n = 0; n < kN; n++) xs[n] = x.row<bf16>(smaller(n * 8 + lane() / 4, x.rows() - 1));
  float total[kN][4] = {};
  Step<kN> next;
  next.load(rows, xs, begin * kWidth, begin < end ? x.cols() : 0);
  legs.add(total, 0, first, warp());
  for (int64_t step = begin; step < end; step++) {
    const Step<kN> now = next;
    next.load(rows, xs, (step + 1) * kWidth, step + 1 < end ? x.cols() : 0);
#pragma unroll
    for (int s = 0; s < kSlabs; s++) {
      const uint32_t low[4] = {now.w[s][0].x, now.w[s][1].x, now.w[s][0].y, now.w[s][1].y};
      const uint32_t high[4] = {now.w[s][0].z, now.w[s][1].z, now.w[s][0].w, now.w[s][1].w};
#pragma unroll
      for (int n = 0; n < kN; n++) {
        mma_bf16(total[n], low, now.x[s][n].x, now.x[s][n].y);
        mma_bf16(total[n], high, now.x[s][n].z, now.x[s][n].w);
      }
    }
  }
#pragma unroll
  for (int n = 0; n < kN; n++) {
#pragma unroll
    for (int r = 0; r < 4; r++) {
      sums[warp()][sum_place(n * 8 + lane() % 4 * 2 + r % 2, lane() / 4 + r / 2 * 8)] = total[n][r];
    }
  }
  __syncthreads();
  const int t = threadIdx.x / kRows;
  const int64_t column = first + threadIdx.x % kRows;
  if (t >= kX || t >= x.rows() || column >= y.cols()) return;
  float sum = 0;
  for (int part = 0; part < kWarps; part++) sum += sums[part][sum_place(t, threadIdx.x % kRows)];
  if (bias) sum += bias.f32()[column];
  Y *out = y.row<Y>(t) + column;
  *out = from_f32<Y>(accumulate ? to_f32(*out) + sum : sum);
}

#define LINEAR_FEW_ROWS_OF(rows, blocks, Y)                                                                          \
  KERNEL_BLOCKS(linear_##rows##_rows_##Y, kThreads, blocks, View y, View x, View w, View bias, int32_t accumulate) { \
    few_rows<Y, rows / 8>(y, x, w, bias, accumulate, NoLegs());                                                      \
  }                                                                                                                  \
  KERNEL_BLOCKS(linear_##rows##_rows_lora_##Y, kThreads, blocks, View y, View x, View w, View bias,                  \
                int32_t accumulate, LoraTable legs) {                                                                \
    few_rows<Y, rows / 8>(y, x, w, bias, accumulate, AddedLegs{legs});                                               \
  }
#define LINEAR_FEW_ROWS(Y)    \
  LINEAR_FEW_ROWS_OF(8, 3, Y) \
  LINEAR_FEW_ROWS_OF(16, 2, Y)
FOR_FLOATS(LINEAR_FEW_ROWS)

#else

bool takes_few_rows(const View &x, const View &w) {
  auto aligned = [](const View &v) { return reinterpret_cast<uintptr_t>(v.data) % 16 == 0 && v.row_stride() % 8 == 0; };
  return x.dtype == RL_BF16 && x.rows() <= 16 && x.cols() % 8 == 0 && aligned(x) && aligned(w);
}

void linear_few_rows(CudaDevice &device, View y, View x, View w, View bias, bool accumulate, const LoraTable *legs) {
  const char *kernel = x.rows() <= 8 ? "linear_8_rows" : "linear_16_rows";
  launch_beside(device, kernel, {y.dtype}, legs, Grid{ceil_div(w.rows(), kRows), 1, kThreads}, y, x, w, bias,
                static_cast<int32_t>(accumulate));
}

#endif

}  // namespace rl::cuda
