// Causal attention over packed sequences, streamed by blocks of keys (Dao et al. 2022, 2023). Per query head, with
// s = scale q k^T masked to j <= i (and j > i - window):
//   forward   p = softmax(s), o = p v, lse = logsumexp(s).   o, lse (=)
//   backward  p = exp(s - lse), delta = sum(gradO * o), ds = p * (gradO v^T - delta) * scale,
//             gradV = p^T gradO, gradK = ds^T q, gradQ = ds k.   All (=); gradK, gradV summed over the heads of a group in order.
// Blocks are brought to f32 once; the products are tile_gemm's. Traffic: q, k, v, o once per block of queries.
#include <omp.h>

#include "cpu/kernels/indices.h"
#include "cpu/kernels/tile_gemm.h"

namespace rl::cpu::RL_ISA {
namespace {

constexpr int64_t kBlock = 64;       // queries and keys of a block
constexpr float kMasked = -2e30f;    // exp(kMasked - anything real) is 0, and so is exp(kMasked - kEmptyMax)
constexpr float kEmptyMax = -1e30f;  // the running maximum before any key

/// out[i,:] = x[row0 + i, head, :]
template <class T>
void load(float *out, const View &x, int64_t row0, int64_t n, int64_t head) {
  const int64_t d = x.shape[2];
  for (int64_t i = 0; i < n; i++) {
    const T *in = x.row<T>(row0 + i) + head * d;
    RL_SIMD
    for (int64_t c = 0; c < d; c++) out[i * d + c] = to_f32(in[c]);
  }
}

/// out[:,i] = in[i,:] for i < n; out has rows of kBlock, and 0 beyond n.
void transpose(float *out, const float *in, int64_t n, int64_t d) {
  for (int64_t c = 0; c < d; c++) {
    for (int64_t i = 0; i < n; i++) out[c * kBlock + i] = in[i * d + c];
    for (int64_t i = n; i < kBlock; i++) out[c * kBlock + i] = 0;
  }
}

void zero(float *x, int64_t n) { __builtin_memset(x, 0, static_cast<size_t>(n) * sizeof(float)); }

/// Scales one row of scores and masks keys that query i must not see; keys start at j0, nk of kBlock are real.
RL_INLINE void scale_and_mask(float *s, int64_t i, int64_t j0, int64_t nk, float scale, int64_t window) {
  const int64_t last = i - j0;  // the last visible one within the block
  const int64_t first = window > 0 ? i - window + 1 - j0 : 0;
  const int64_t end = last + 1 < nk ? last + 1 : nk;
  RL_SIMD
  for (int64_t j = 0; j < kBlock; j++) s[j] = j >= first && j < end ? s[j] * scale : kMasked;
}

/// The first key block that any query from i0 on can see.
RL_INLINE int64_t first_key(int64_t i0, int64_t window) {
  const int64_t from = window > 0 ? i0 - window + 1 : 0;
  return from <= 0 ? 0 : from / kBlock * kBlock;
}

struct Work {
  int32_t sequence;
  int32_t head;   // kv head (forward), query head (backward)
  int32_t block;  // first query (forward)
};

}  // namespace

void attention(Device &device, View o, View lse, View q, View k, View v, View cuSeqlens, float scale, int32_t window) {
  check_cu_seqlens(cuSeqlens, q.rows());
  const int32_t *cu = cuSeqlens.i32();
  const int64_t sequences = cuSeqlens.elements() - 1, d = q.shape[2], kvHeads = k.shape[1];
  const int64_t group = q.shape[1] / kvHeads, rows = group * kBlock, tokens = q.rows();

  // Long blocks first, so that the last ones to be taken are short.
  int64_t count = 0;
  for (int64_t b = 0; b < sequences; b++) count += (cu[b + 1] - cu[b] + kBlock - 1) / kBlock * kvHeads;
  Work *work = cpu(device).scratch<Work>(count);
  int64_t at = 0;
  int64_t longest = 0;
  for (int64_t b = 0; b < sequences; b++) longest = cu[b + 1] - cu[b] > longest ? cu[b + 1] - cu[b] : longest;
  for (int64_t i0 = (longest - 1) / kBlock * kBlock; i0 >= 0; i0 -= kBlock) {
    for (int64_t b = 0; b < sequences; b++) {
      if (i0 >= cu[b + 1] - cu[b]) continue;
      for (int64_t h = 0; h < kvHeads; h++) {
        work[at++] = {static_cast<int32_t>(b), static_cast<int32_t>(h), static_cast<int32_t>(i0)};
      }
    }
  }

  const int64_t per_thread = rows * d * 2 + rows * kBlock + kBlock * d * 3 + rows * 2;
  const int threads = cpu(device).threads();
  float *scratch = cpu(device).scratch<float>(per_thread * threads);
  const bool parallel = tokens * q.shape[1] * d > 8192;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (parallel)
  for (int64_t w = 0; w < count; w++) {
    float *qf = scratch + per_thread * omp_get_thread_num();
    float *of = qf + rows * d, *s = of + rows * d, *kf = s + rows * kBlock, *kt = kf + kBlock * d, *vf = kt + kBlock * d;
    float *top = vf + kBlock * d, *sum = top + rows;
    const int64_t start = cu[work[w].sequence], length = cu[work[w].sequence + 1] - start;
    const int64_t i0 = work[w].block, nq = length - i0 < kBlock ? length - i0 : kBlock, kvHead = work[w].head;
    with_float(q.dtype, [&](auto type) {
      using T = decltype(type);
      for (int64_t g = 0; g < group; g++) load<T>(qf + g * nq * d, q, start + i0, nq, kvHead * group + g);
      const int64_t m = group * nq;
      zero(of, m * d);
      for (int64_t r = 0; r < m; r++) {
        top[r] = kEmptyMax;
        sum[r] = 0;
      }
      for (int64_t j0 = first_key(i0, window); j0 < i0 + nq; j0 += kBlock) {
        const int64_t nk = length - j0 < kBlock ? length - j0 : kBlock;
        load<T>(kf, k, start + j0, nk, kvHead);
        transpose(kt, kf, nk, d);
        load<T>(vf, v, start + j0, nk, kvHead);
        zero(s, m * kBlock);
        tile_gemm(s, kBlock, qf, d, kt, kBlock, m, kBlock, d);
        for (int64_t r = 0; r < m; r++) {
          float *row = s + r * kBlock;
          scale_and_mask(row, i0 + r % nq, j0, nk, scale, window);
          float best = top[r];
#pragma omp simd reduction(max : best)
          for (int64_t j = 0; j < kBlock; j++) best = row[j] > best ? row[j] : best;
          float total = 0;
#pragma omp simd reduction(+ : total)
          for (int64_t j = 0; j < kBlock; j++) {
            row[j] = exp_f32(row[j] - best);
            total += row[j];
          }
          const float shrink = exp_f32(top[r] - best);
          sum[r] = sum[r] * shrink + total;
          if (top[r] != best) {
            top[r] = best;
            RL_SIMD
            for (int64_t c = 0; c < d; c++) of[r * d + c] *= shrink;
          }
        }
        tile_gemm(of, d, s, kBlock, vf, d, m, d, nk);
      }
      for (int64_t r = 0; r < m; r++) {
        const int64_t head = kvHead * group + r / nq, t = start + i0 + r % nq;
        const float inverse = 1.0f / sum[r];
        T *out = o.row<T>(t) + head * d;
        RL_SIMD
        for (int64_t c = 0; c < d; c++) out[c] = from_f32<T>(of[r * d + c] * inverse);
        lse.f32()[head * tokens + t] = top[r] + __builtin_logf(sum[r]);
      }
    });
  }
}

void attention_backward(Device &device, View gradQ, View gradK, View gradV, View gradO, View o, View lse, View q, View k,
                        View v, View cuSeqlens, float scale, int32_t window) {
  check_cu_seqlens(cuSeqlens, q.rows());
  const int32_t *cu = cuSeqlens.i32();
  const int64_t sequences = cuSeqlens.elements() - 1, d = q.shape[2], heads = q.shape[1], kvHeads = k.shape[1];
  const int64_t group = heads / kvHeads, tokens = q.rows();
  int64_t longest = 0;
  for (int64_t b = 0; b < sequences; b++) longest = cu[b + 1] - cu[b] > longest ? cu[b + 1] - cu[b] : longest;

  // Each query head sums its own gradients of k and v; the group's are added up afterwards, in order.
  float *partK = cpu(device).scratch<float>(heads * tokens * d);
  float *partV = cpu(device).scratch<float>(heads * tokens * d);
  const int threads = cpu(device).threads();
  const int64_t per_thread = longest * d * 3 + longest + kBlock * d * 4 + kBlock * kBlock * 4;
  float *scratch = cpu(device).scratch<float>(per_thread * threads);
  const bool parallel = tokens * heads * d > 8192;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (parallel)
  for (int64_t w = 0; w < sequences * heads; w++) {
    const int64_t b = w / heads, head = w % heads, kvHead = head / group;
    const int64_t start = cu[b], length = cu[b + 1] - start;
    float *qf = scratch + per_thread * omp_get_thread_num();
    float *gof = qf + longest * d, *gqf = gof + longest * d, *delta = gqf + longest * d;
    float *kf = delta + longest, *kt = kf + kBlock * d, *vf = kt + kBlock * d, *vt = vf + kBlock * d;
    float *p = vt + kBlock * d, *ds = p + kBlock * kBlock, *pt = ds + kBlock * kBlock, *dst = pt + kBlock * kBlock;
    with_float(q.dtype, [&](auto type) {
      using T = decltype(type);
      load<T>(qf, q, start, length, head);
      load<T>(gof, gradO, start, length, head);
      zero(gqf, length * d);
      for (int64_t i = 0; i < length; i++) {
        const T *out = o.row<T>(start + i) + head * d;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < d; c++) sum += gof[i * d + c] * to_f32(out[c]);
        delta[i] = sum;
      }
      const float *l = lse.f32() + head * tokens + start;
      for (int64_t j0 = 0; j0 < length; j0 += kBlock) {
        const int64_t nk = length - j0 < kBlock ? length - j0 : kBlock;
        load<T>(kf, k, start + j0, nk, kvHead);
        transpose(kt, kf, nk, d);
        load<T>(vf, v, start + j0, nk, kvHead);
        transpose(vt, vf, nk, d);
        float *gk = partK + (head * tokens + start + j0) * d, *gv = partV + (head * tokens + start + j0) * d;
        zero(gk, nk * d);
        zero(gv, nk * d);
        const int64_t end = window > 0 && j0 + nk - 1 + window < length ? j0 + nk - 1 + window : length;
        for (int64_t i0 = j0; i0 < end; i0 += kBlock) {
          const int64_t nq = end - i0 < kBlock ? end - i0 : kBlock;
          zero(p, nq * kBlock);
          zero(ds, nq * kBlock);
          tile_gemm(p, kBlock, qf + i0 * d, d, kt, kBlock, nq, kBlock, d);
          tile_gemm(ds, kBlock, gof + i0 * d, d, vt, kBlock, nq, kBlock, d);
          for (int64_t r = 0; r < nq; r++) {
            float *prow = p + r * kBlock, *dsrow = ds + r * kBlock;
            scale_and_mask(prow, i0 + r, j0, nk, scale, window);
            const float top = l[i0 + r], mean = delta[i0 + r];
            RL_SIMD
            for (int64_t j = 0; j < kBlock; j++) {
              prow[j] = exp_f32(prow[j] - top);
              dsrow[j] = prow[j] * (dsrow[j] - mean) * scale;
            }
          }
          for (int64_t r = 0; r < nq; r++) {
            for (int64_t j = 0; j < nk; j++) {
              pt[j * kBlock + r] = p[r * kBlock + j];
              dst[j * kBlock + r] = ds[r * kBlock + j];
            }
          }
          tile_gemm(gv, d, pt, kBlock, gof + i0 * d, d, nk, d, nq);
          tile_gemm(gk, d, dst, kBlock, qf + i0 * d, d, nk, d, nq);
          tile_gemm(gqf + i0 * d, d, ds, kBlock, kf, d, nq, d, nk);
        }
      }
      for (int64_t i = 0; i < length; i++) {
        T *out = gradQ.row<T>(start + i) + head * d;
        RL_SIMD
        for (int64_t c = 0; c < d; c++) out[c] = from_f32<T>(gqf[i * d + c]);
      }
    });
  }
#pragma omp parallel for schedule(static) num_threads(threads) if (parallel)
  for (int64_t t = 0; t < tokens; t++) {
    with_float(q.dtype, [&](auto type) {
      using T = decltype(type);
      for (int64_t h = 0; h < kvHeads; h++) {
        T *gk = gradK.row<T>(t) + h * d, *gv = gradV.row<T>(t) + h * d;
        RL_SIMD
        for (int64_t c = 0; c < d; c++) {
          float sumK = 0, sumV = 0;
          for (int64_t g = 0; g < group; g++) {
            sumK += partK[((h * group + g) * tokens + t) * d + c];
            sumV += partV[((h * group + g) * tokens + t) * d + c];
          }
          gk[c] = from_f32<T>(sumK);
          gv[c] = from_f32<T>(sumV);
        }
      }
    });
  }
}

}  // namespace rl::cpu::RL_ISA
