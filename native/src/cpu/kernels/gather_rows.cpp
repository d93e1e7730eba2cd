// y[m] = x[index[m]]  (=)
// gradX[t] = sum of gradY[m] over index[m] = t, in order of m, in f32.  (=)
#include <omp.h>

#include "cpu/kernels/indices.h"
#include "cpu/kernels/tile.h"

namespace rl::cpu::RL_ISA {

void gather_rows(Device &device, View y, View x, View index) {
  check_indices("index", index, x.rows());
  const int64_t rows = y.rows(), size = dtype_size(x.dtype), bytes = x.cols() * size;
  const int32_t *from = index.i32();
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * bytes > 262144)
  for (int64_t m = 0; m < rows; m++) {
    __builtin_memcpy(y.as<char>() + m * y.row_stride() * size, x.as<char>() + from[m] * x.row_stride() * size,
                     static_cast<size_t>(bytes));
  }
}

void gather_rows_backward(Device &device, View gradX, View gradY, View index) {
  check_indices("index", index, gradX.rows());
  const int64_t rows = gradX.rows(), n = gradX.cols(), count = gradY.rows();
  const int32_t *to = index.i32();
  // first[t], then next[m]: the rows of gradY that fall on row t, ascending. -1 ends.
  int64_t *first = cpu(device).scratch<int64_t>(rows), *next = cpu(device).scratch<int64_t>(count);
  const int threads = cpu(device).threads();
  float *sums = cpu(device).scratch<float>(n * threads);
  for (int64_t t = 0; t < rows; t++) first[t] = -1;
  for (int64_t m = count - 1; m >= 0; m--) {
    next[m] = first[to[m]];
    first[to[m]] = m;
  }
  with_float(gradX.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for schedule(static) num_threads(threads) if (rows * n > 65536)
    for (int64_t t = 0; t < rows; t++) {
      T *out = gradX.row<T>(t);
      const int64_t m = first[t];
      if (m < 0) {
        __builtin_memset(static_cast<void *>(out), 0, static_cast<size_t>(n) * sizeof(T));
      } else if (next[m] < 0) {
        __builtin_memcpy(static_cast<void *>(out), gradY.row<T>(m), static_cast<size_t>(n) * sizeof(T));
      } else {
        float *sum = sums + n * omp_get_thread_num();
        scale_row(sum, gradY.row<T>(m), n, 1.0f);
        for (int64_t k = next[m]; k >= 0; k = next[k]) {
          const T *g = gradY.row<T>(k);
          for_row(
              sum, n, [&](int64_t i) { return load(sum + i) + load(g + i); },
              [&](int64_t i) { return sum[i] + to_f32(g[i]); });
        }
        scale_row(out, sum, n, 1.0f);
      }
    }
  });
}

}  // namespace rl::cpu::RL_ISA
