// y[t] = W[ids[t]], from the form that products read.
#include <omp.h>

#include "cpu/cpu_weight.h"
#include "cpu/kernels/indices.h"
#include "cpu/kernels/nf4_multiply.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {
namespace {

/// Column j of a [k,n] matrix.
template <class T, class Y>
void column(Y *y, const Matrix &b, int64_t j) {
  const T *data = static_cast<const T *>(b.data);
  if (b.layout == Layout::by_column) {
    RL_SIMD
    for (int64_t i = 0; i < b.k; i++) y[i] = from_f32<Y>(to_f32(data[j * b.k + i]));
    return;
  }
  constexpr int64_t step = sizeof(T) == 2 ? 2 : 1;
  const T *panel = data + j / kPanel * kPanel * padded_k(b.k, b.dtype) + j % kPanel * step;
  for (int64_t i = 0; i < b.k; i++) y[i] = from_f32<Y>(to_f32(panel[i / step * kPanel * step + i % step]));
}

}  // namespace

void weight_rows(Device &device, View y, const Weight &weight, View ids) {
  check_indices("ids", ids, weight.n);
  const Matrix b = cpu(weight).forward();
  const int64_t rows = y.rows();
  const int32_t *id = ids.i32();
  if (b.layout == Layout::nf4) {
    const Nf4Matrix &w = *static_cast<const Nf4Matrix *>(b.data);
    float *values = cpu(device).scratch<float>(cpu(device).threads() * b.k);
    return with_float(y.dtype, [&](auto type) {
      using Y = decltype(type);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * b.k > 32768)
      for (int64_t t = 0; t < rows; t++) {
        float *row = values + omp_get_thread_num() * b.k;
        nf4_row(row, w, id[t]);
        Y *out = y.row<Y>(t);
        RL_SIMD
        for (int64_t i = 0; i < b.k; i++) out[i] = from_f32<Y>(row[i]);
      }
    });
  }
  with_float(weight.dtype, [&](auto tw) {
    with_float(y.dtype, [&](auto ty) {
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * b.k > 32768)
      for (int64_t t = 0; t < rows; t++) column<decltype(tw)>(y.row<decltype(ty)>(t), b, id[t]);
    });
  });
}

}  // namespace rl::cpu::RL_ISA
