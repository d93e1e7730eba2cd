// LoRA by segments. For rows t of segment s, with x' = drop(x):
//   forward   h[t] = x'[t] a^T  (=),  y[t] += scale h[t] b^T
//   backward  g = scale gradY b;  gradX += drop(g a);  gradA += g^T x';  gradB += scale gradY^T h
// a [r,K] and b [N,r] are f32 and small: they stay in the caches while rows stream past. x, y, gradX in f32 or bf16.
#include <omp.h>

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"
#include "dispatch/philox.h"

namespace rl::cpu::RL_ISA {
namespace {

constexpr int64_t kRankBlock = 8;

/// out[c] = drop(x[c]) in f32, or only x where nothing is dropped.
template <class T>
RL_INLINE void load_row(float *out, const T *x, int64_t n, const rl_dropout &d, uint32_t row) {
  if (d.p == 0) {
    RL_SIMD
    for (int64_t i = 0; i < n; i++) out[i] = to_f32(x[i]);
    return;
  }
  const uint32_t threshold = philox_threshold(d.p);
  const float keep = 1.0f / (1.0f - d.p);
  for (int64_t i = 0; i < n; i += 4) {
    const Philox4 r = philox(d.seed, d.stream, row, static_cast<uint32_t>(i / 4));
    for (int64_t j = 0; j < 4 && i + j < n; j++) out[i + j] = (r.word[j] >> 8) < threshold ? 0 : to_f32(x[i + j]) * keep;
  }
}

/// Multiplies a row by the mask of its dropout.
RL_INLINE void mask_row(float *x, int64_t n, const rl_dropout &d, uint32_t row) {
  if (d.p == 0) return;
  const uint32_t threshold = philox_threshold(d.p);
  const float keep = 1.0f / (1.0f - d.p);
  for (int64_t i = 0; i < n; i += 4) {
    const Philox4 r = philox(d.seed, d.stream, row, static_cast<uint32_t>(i / 4));
    for (int64_t j = 0; j < 4 && i + j < n; j++) x[i + j] = (r.word[j] >> 8) < threshold ? 0 : x[i + j] * keep;
  }
}

RL_INLINE float dot(const float *a, const float *b, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

/// out[n] += sum_j c[j] m[n,j]: m row-major with r columns, taken by the transposed copy mt [r,n].
RL_INLINE void combine(float *out, const float *c, const float *mt, int64_t r, int64_t n) {
  int64_t j = 0;
  for (; j + 4 <= r; j += 4) {
    const float c0 = c[j], c1 = c[j + 1], c2 = c[j + 2], c3 = c[j + 3];
    const float *m0 = mt + j * n, *m1 = m0 + n, *m2 = m1 + n, *m3 = m2 + n;
    RL_SIMD
    for (int64_t i = 0; i < n; i++) out[i] += c0 * m0[i] + c1 * m1[i] + c2 * m2[i] + c3 * m3[i];
  }
  for (; j < r; j++) {
    const float cj = c[j], *m = mt + j * n;
    RL_SIMD
    for (int64_t i = 0; i < n; i++) out[i] += cj * m[i];
  }
}

void transpose(float *out, const float *in, int64_t rows, int64_t cols) {
  for (int64_t i = 0; i < rows; i++) {
    for (int64_t j = 0; j < cols; j++) out[j * rows + i] = in[i * cols + j];
  }
}

}  // namespace

void lora(Device &device, View y, View h, View x, const LoraSegment *segments, int32_t count, const rl_dropout &d) {
  const int64_t k = x.cols(), n = y.cols(), width = h.cols();
  const int threads = cpu(device).threads();
  for (int32_t s = 0; s < count; s++) {
    const LoraSegment &seg = segments[s];
    const int64_t r = seg.a.rows();
    const float *a = seg.a.f32();
    float *bt = cpu(device).scratch<float>(r * n);
    transpose(bt, seg.b.f32(), n, r);
    float *buffers = cpu(device).scratch<float>((k + n) * threads);
    with_float(x.dtype, [&](auto tx) {
      with_float(y.dtype, [&](auto ty) {
        using X = decltype(tx);
        using Y = decltype(ty);
#pragma omp parallel for schedule(static) num_threads(threads) if ((seg.end - seg.begin) * r * (k + n) > 200000)
        for (int64_t t = seg.begin; t < seg.end; t++) {
          float *row = buffers + (k + n) * omp_get_thread_num(), *sum = row + k;
          load_row(row, x.row<X>(t), k, d, static_cast<uint32_t>(t));
          float *ht = h.f32() + t * width;
          for (int64_t j = 0; j < r; j++) ht[j] = dot(row, a + j * k, k);
          RL_SIMD
          for (int64_t i = 0; i < n; i++) sum[i] = 0;
          combine(sum, ht, bt, r, n);
          Y *out = y.row<Y>(t);
          const float scale = seg.scale;
          RL_SIMD
          for (int64_t i = 0; i < n; i++) out[i] = from_f32<Y>(to_f32(out[i]) + scale * sum[i]);
        }
      });
    });
  }
}

void lora_backward(Device &device, View gradX, View gradY, View x, View h, const LoraSegment *segments, int32_t count,
                   const rl_dropout &d) {
  const int64_t k = x.cols(), n = gradY.cols(), width = h.cols();
  const int threads = cpu(device).threads();
  for (int32_t s = 0; s < count; s++) {
    const LoraSegment &seg = segments[s];
    const int64_t r = seg.a.rows(), rows = seg.end - seg.begin;
    if (rows == 0 || (!gradX && !seg.gradA)) continue;
    const float *a = seg.a.f32();
    float *bt = cpu(device).scratch<float>(r * n), *g = cpu(device).scratch<float>(rows * r);
    transpose(bt, seg.b.f32(), n, r);
    float *buffers = cpu(device).scratch<float>((k + n) * threads);
    const bool parallel = rows * r * (k + n) > 200000;
    with_float(x.dtype, [&](auto tx) {
      with_float(gradY.dtype, [&](auto tg) {
        using X = decltype(tx);
        using G = decltype(tg);
        // g = scale gradY b, and gradX.
#pragma omp parallel for schedule(static) num_threads(threads) if (parallel)
        for (int64_t i = 0; i < rows; i++) {
          const int64_t t = seg.begin + i;
          float *sum = buffers + (k + n) * omp_get_thread_num(), *gy = sum + k;
          const G *in = gradY.row<G>(t);
          RL_SIMD
          for (int64_t c = 0; c < n; c++) gy[c] = to_f32(in[c]);
          for (int64_t j = 0; j < r; j++) g[i * r + j] = seg.scale * dot(gy, bt + j * n, n);
          if (!gradX) continue;
          RL_SIMD
          for (int64_t c = 0; c < k; c++) sum[c] = 0;
          combine(sum, g + i * r, a, r, k);
          mask_row(sum, k, d, static_cast<uint32_t>(t));
          with_float(gradX.dtype, [&](auto tgx) {
            using GX = decltype(tgx);
            GX *out = gradX.row<GX>(t);
            RL_SIMD
            for (int64_t c = 0; c < k; c++) out[c] = from_f32<GX>(to_f32(out[c]) + sum[c]);
          });
        }
        if (!seg.gradA) return;
        // gradA += g^T x' and gradB += scale gradY^T h: each thread owns some columns of the transposed sums, so that the
        // order of the rows is fixed.
        float *sums = cpu(device).scratch<float>(r * (k + n));
        float *dropped = d.p == 0 ? nullptr : cpu(device).scratch<float>(rows * k);
#pragma omp parallel num_threads(threads) if (parallel)
        {
          if (dropped) {
#pragma omp for schedule(static)
            for (int64_t i = 0; i < rows; i++) {
              load_row(dropped + i * k, x.row<X>(seg.begin + i), k, d, static_cast<uint32_t>(seg.begin + i));
            }
          }
          const int64_t block = 128, blocks_k = (k + block - 1) / block, blocks_n = (n + block - 1) / block;
#pragma omp for schedule(static)
          for (int64_t w = 0; w < blocks_k + blocks_n; w++) {
            const bool for_a = w < blocks_k;
            const int64_t from = (for_a ? w : w - blocks_k) * block, limit = for_a ? k : n;
            const int64_t m = limit - from < block ? limit - from : block;
            for (int64_t j0 = 0; j0 < r; j0 += kRankBlock) {
              const int64_t nj = r - j0 < kRankBlock ? r - j0 : kRankBlock;
              float acc[kRankBlock][128];
              for (int64_t j = 0; j < nj; j++) {
                for (int64_t c = 0; c < m; c++) acc[j][c] = 0;
              }
              for (int64_t i = 0; i < rows; i++) {
                const int64_t t = seg.begin + i;
                float values[128];
                if (for_a && dropped) {
                  for (int64_t c = 0; c < m; c++) values[c] = dropped[i * k + from + c];
                } else if (for_a) {
                  const X *in = x.row<X>(t) + from;
                  RL_SIMD
                  for (int64_t c = 0; c < m; c++) values[c] = to_f32(in[c]);
                } else {
                  const G *in = gradY.row<G>(t) + from;
                  RL_SIMD
                  for (int64_t c = 0; c < m; c++) values[c] = to_f32(in[c]);
                }
                const float *left = for_a ? g + i * r + j0 : h.f32() + t * width + j0;
                for (int64_t j = 0; j < nj; j++) {
                  const float c0 = left[j];
                  RL_SIMD
                  for (int64_t c = 0; c < m; c++) acc[j][c] += c0 * values[c];
                }
              }
              for (int64_t j = 0; j < nj; j++) {
                float *out = sums + (for_a ? (j0 + j) * k : r * k + (j0 + j) * n) + from;
                for (int64_t c = 0; c < m; c++) out[c] = acc[j][c];
              }
            }
          }
        }
        float *ga = seg.gradA.f32(), *gb = seg.gradB.f32();
        for (int64_t i = 0; i < r * k; i++) ga[i] += sums[i];
        for (int64_t j = 0; j < r; j++) {
          for (int64_t i = 0; i < n; i++) gb[i * r + j] += seg.scale * sums[r * k + j * n + i];
        }
      });
    });
  }
}

void dropout_apply(Device &, View y, View x, const rl_dropout &d) {
  const int64_t n = x.cols();
  with_float(x.dtype, [&](auto type) {
    using T = decltype(type);
    const uint32_t threshold = philox_threshold(d.p);
    const float keep = 1.0f / (1.0f - d.p);
    for (int64_t t = 0; t < x.rows(); t++) {
      const T *in = x.row<T>(t);
      T *out = y.row<T>(t);
      for (int64_t i = 0; i < n; i++) {
        const Philox4 r = philox(d.seed, d.stream, static_cast<uint32_t>(t), static_cast<uint32_t>(i / 4));
        out[i] = from_f32<T>((r.word[i % 4] >> 8) < threshold ? 0 : to_f32(in[i]) * keep);
      }
    }
  });
}

}  // namespace rl::cpu::RL_ISA
