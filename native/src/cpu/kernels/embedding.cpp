// y[t] = w[ids[t]]  (=);  gradW[ids[t]] += gradY[t], in order of t.
#include "cpu/kernels/indices.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {

void embedding(Device &device, View y, View w, View ids) {
  check_indices("ids", ids, w.rows());
  const int64_t rows = y.rows(), n = y.cols();
  const int32_t *id = ids.i32();
  with_float(w.dtype, [&](auto tw) {
    with_float(y.dtype, [&](auto ty) {
      using W = decltype(tw);
      using Y = decltype(ty);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * n > 32768)
      for (int64_t t = 0; t < rows; t++) {
        const W *in = w.row<W>(id[t]);
        Y *out = y.row<Y>(t);
        RL_SIMD
        for (int64_t i = 0; i < n; i++) out[i] = from_f32<Y>(to_f32(in[i]));
      }
    });
  });
}

void embedding_backward(Device &device, View gradW, View gradY, View ids) {
  check_indices("ids", ids, gradW.rows());
  const int64_t rows = gradY.rows(), n = gradY.cols(), block = 64;
  const int32_t *id = ids.i32();
  with_float(gradY.dtype, [&](auto tg) {
    using G = decltype(tg);
    // By columns: rows that share an id add up in one thread, in order.
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * n > 32768)
    for (int64_t from = 0; from < n; from += block) {
      const int64_t to = from + block < n ? from + block : n;
      for (int64_t t = 0; t < rows; t++) {
        const G *g = gradY.row<G>(t);
        float *out = gradW.row<float>(id[t]);
        RL_SIMD
        for (int64_t i = from; i < to; i++) out[i] += to_f32(g[i]);
      }
    }
  });
}

}  // namespace rl::cpu::RL_ISA
