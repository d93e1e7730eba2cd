// One new query per row against a cache: o[b] = softmax(scale q[b] K^T) V over the row's slot.  o (=)
// The query heads of a group share one sweep over K and one over V, which are what the time goes into.
#include "cpu/kernels/indices.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {

void attention_decode(Device &device, View o, View q, View cacheK, View cacheV, View slots, View lengths, float scale,
                      int32_t window) {
  check_indices("slots", slots, cacheK.shape[0]);
  const int64_t rows = q.rows(), d = q.shape[2], kvHeads = cacheK.shape[2], group = q.shape[1] / kvHeads;
  int64_t total = 0;
  for (int64_t b = 0; b < rows; b++) {
    const int32_t n = lengths.i32()[b];
    if (n < 1 || n > cacheK.shape[1]) {
      fail(RL_INVALID_ARGUMENT, "lengths[%lld] is %d, expected 1 to %lld", static_cast<long long>(b), n,
           static_cast<long long>(cacheK.shape[1]));
    }
    total += n;
  }
  const int64_t longest = cacheK.shape[1];
  float *scores = cpu(device).scratch<float>(rows * kvHeads * group * longest);
  float *queries = cpu(device).scratch<float>(rows * kvHeads * group * d);
  float *sums = cpu(device).scratch<float>(rows * kvHeads * group * d);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (total * kvHeads * d > 65536)
  for (int64_t w = 0; w < rows * kvHeads; w++) {
    const int64_t b = w / kvHeads, h = w % kvHeads;
    const int64_t n = lengths.i32()[b], slot = slots.i32()[b];
    const int64_t from = window > 0 && n > window ? n - window : 0;
    float *s = scores + w * group * longest, *qf = queries + w * group * d, *of = sums + w * group * d;
    with_float(q.dtype, [&](auto type) {
      using T = decltype(type);
      const T *in = q.row<T>(b) + h * group * d;
      for (int64_t i = 0; i < group * d; i++) {
        qf[i] = to_f32(in[i]) * scale;
        of[i] = 0;
      }
      const int64_t step = kvHeads * d;
      const T *keys = cacheK.row<T>(slot) + h * d;
      for (int64_t j = from; j < n; j++) {
        const T *key = keys + j * step;
        for (int64_t g = 0; g < group; g++) {
          float sum = 0;
#pragma omp simd reduction(+ : sum)
          for (int64_t c = 0; c < d; c++) sum += qf[g * d + c] * to_f32(key[c]);
          s[g * longest + j] = sum;
        }
      }
      for (int64_t g = 0; g < group; g++) {
        float *row = s + g * longest;
        float top = row[from];
#pragma omp simd reduction(max : top)
        for (int64_t j = from; j < n; j++) top = row[j] > top ? row[j] : top;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = from; j < n; j++) {
          row[j] = exp_f32(row[j] - top);
          sum += row[j];
        }
        const float inverse = 1.0f / sum;
        RL_SIMD
        for (int64_t j = from; j < n; j++) row[j] *= inverse;
      }
      const T *values = cacheV.row<T>(slot) + h * d;
      for (int64_t j = from; j < n; j++) {
        const T *value = values + j * step;
        for (int64_t g = 0; g < group; g++) {
          const float p = s[g * longest + j];
          float *out = of + g * d;
          RL_SIMD
          for (int64_t c = 0; c < d; c++) out[c] += p * to_f32(value[c]);
        }
      }
      T *out = o.row<T>(b) + h * group * d;
      for (int64_t i = 0; i < group * d; i++) out[i] = from_f32<T>(of[i]);
    });
  }
}

}  // namespace rl::cpu::RL_ISA
