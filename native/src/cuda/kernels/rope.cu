// rope_table: table[t] = cos(positions[t] f) | sin(positions[t] f), f = invFreq[0] + invFreq[1], in double.  (=)
// rope, half rotation of the first R columns of a head (R is the table's width): for i < R/2, y[i] = x[i] cos - x[i+R/2] sin,
// y[i+R/2] = x[i+R/2] cos + x[i] sin; backwards with -sin. The columns from R on are copied.
// y (=), may be x itself: a thread reads both halves before it writes them.
#include "cuda/op.h"
#if !defined(RL_KERNELS)
#include "cuda/indices.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 128;

#if defined(RL_KERNELS)

KERNEL(rope_table, kThreads, View table, View positions, View invFreq) {
  const int64_t half = table.cols() / 2, j = thread_of_grid();
  if (j >= table.rows() * half) return;
  const int64_t t = j / half, i = j % half;
  const float *f = invFreq.f32();
  const double angle = positions.i32()[t] * (static_cast<double>(f[i]) + static_cast<double>(f[half + i]));
  table.row<float>(t)[i] = static_cast<float>(cos(angle));
  table.row<float>(t)[half + i] = static_cast<float>(sin(angle));
}

template <class T>
DEVICE void rotate(View y, View x, View table, float sign) {
  const int64_t t = blockIdx.x, heads = x.shape[1], size = x.shape[2], half = table.cols() / 2, rest = size - 2 * half;
  const T *in = x.row<T>(t);
  T *out = y.row<T>(t);
  const float *cosine = table.row<float>(t), *sine = cosine + half;
  for (int64_t j = threadIdx.x; j < heads * half; j += blockDim.x) {
    const int64_t i = j % half, at = j / half * size + i;
    const float a = to_f32(in[at]), b = to_f32(in[at + half]), c = cosine[i], s = sine[i] * sign;
    out[at] = from_f32<T>(a * c - b * s);
    out[at + half] = from_f32<T>(b * c + a * s);
  }
  for (int64_t j = threadIdx.x; j < heads * rest; j += blockDim.x) {
    const int64_t at = j / rest * size + 2 * half + j % rest;
    out[at] = in[at];
  }
}

#define ROPE(T) \
  KERNEL(rope_##T, kThreads, View y, View x, View table, float sign) { rotate<T>(y, x, table, sign); }
FOR_FLOATS(ROPE)

#else

void rope_table(Device &device, View table, View positions, View invFreq) {
  check_indices(gpu(device), "rope_table", "positions", positions, int64_t{1} << 31);
  const int64_t angles = table.rows() * (table.cols() / 2);
  gpu(device).launch("rope_table", by_element(angles, kThreads), table, positions, invFreq);
}

void rope(Device &device, View y, View x, View table, bool inverse) {
  gpu(device).launch(kernel_name("rope", {x.dtype}), by_row(x.rows(), kThreads), y, x, table, inverse ? -1.0f : 1.0f);
}

#endif

}  // namespace rl::cuda
