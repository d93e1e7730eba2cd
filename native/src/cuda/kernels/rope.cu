// rope_table: table[t] = cos(positions[t] f) | sin(positions[t] f), f = invFreq[0] + invFreq[1], in double.  (=)
// rope, half rotation of the first R columns of a head (R is the table's width): for i < R/2, y[i] = x[i] cos - x[i+R/2] sin,
// y[i+R/2] = x[i+R/2] cos + x[i] sin; backwards with -sin. The columns from R on are copied.
// y (=), may be x itself: a thread reads both halves before it writes them.
// A block for each row; a thread turns one run of every so many heads, with its cosines and sines in registers. Traffic: x read once,
// y written once, the minimum, and the table.
#include "cuda/elementwise.h"
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

/// How a block's threads take the heads of a row: `across` of them side by side, for the runs of one head.
struct Places {
  int across, down;
  DEVICE_MEMBER explicit Places(int64_t runs_of_head)
      : across(static_cast<int>(smaller(runs_of_head, blockDim.x))), down(static_cast<int>(blockDim.x) / across) {}
};

template <class T, int N>
DEVICE void rotate_heads(const T *in, T *out, const float *cosine, const float *sine, float sign, int64_t heads,
                         int64_t size, int64_t half) {
  const Places places(half / N);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread >= places.across * places.down) return;
  for (int64_t i = thread % places.across * N; i < half; i += places.across * N) {
    float c[N], s[N];
    read_run(c, cosine + i);
    read_run(s, sine + i);
#pragma unroll
    for (int j = 0; j < N; j++) s[j] *= sign;
    for (int64_t head = thread / places.across; head < heads; head += places.down) {
      const int64_t at = head * size + i;
      float a[N], b[N], turned[N];
      read_run(a, in + at);
      read_run(b, in + at + half);
#pragma unroll
      for (int j = 0; j < N; j++) turned[j] = a[j] * c[j] - b[j] * s[j];
#pragma unroll
      for (int j = 0; j < N; j++) b[j] = b[j] * c[j] + a[j] * s[j];
      write_run(out + at, turned);
      write_run(out + at + half, b);
    }
  }
}

template <class T, int N>
DEVICE void copy_rest(const T *in, T *out, int64_t heads, int64_t size, int64_t from) {
  const int64_t rest = size - from;
  if (rest == 0) return;
  const Places places(rest / N);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread >= places.across * places.down) return;
  for (int64_t i = thread % places.across * N; i < rest; i += places.across * N) {
    for (int64_t head = thread / places.across; head < heads; head += places.down) {
      copy_run<N>(out + head * size + from + i, in + head * size + from + i);
    }
  }
}

template <class T>
DEVICE void rotate(View y, View x, View table, float sign) {
  constexpr int kRun = kRunOf<T>;
  const int64_t t = blockIdx.x, heads = x.shape[1], size = x.shape[2], half = table.cols() / 2;
  const T *in = x.row<T>(t);
  T *out = y.row<T>(t);
  const float *cosine = table.row<float>(t), *sine = cosine + half;
  if (half % kRun == 0 && size % kRun == 0 && takes_runs<kRun, T>(x) && takes_runs<kRun, T>(y) &&
      takes_runs<kRun, float>(table)) {
    rotate_heads<T, kRun>(in, out, cosine, sine, sign, heads, size, half);
    copy_rest<T, kRun>(in, out, heads, size, 2 * half);
  } else {
    rotate_heads<T, 1>(in, out, cosine, sine, sign, heads, size, half);
    copy_rest<T, 1>(in, out, heads, size, 2 * half);
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
