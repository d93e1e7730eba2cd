// y = x W^T + bias (linear.cpp), and by column ranges of y, for rows t of segment s:
//   h[t] = drop(x[t]) a_s^T  (=),  y[t] += scale_s h[t] b_s^T.
// x [T,K], a [r,K], b [N,r], h [T,R], y [T,N], N the range's columns.
// With gh[t] = scale_s gradY[t] b_s:  gradX[t] = gradY[t] W + (gh[t] a_s) mask,  gradA_s += sum_t gh[t]^T drop(x[t]),
// gradB_s += scale_s sum_t gradY[t]^T h[t].
// r is small against K and N, so these are passes over x, y and gradY with the adapter in cache, not products worth
// packing: rows are widened to f32 once, in cache, and meet the adapter there.
#include <omp.h>

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"
#include "dispatch/philox.h"

#if defined(__AVX512BW__)
#include <immintrin.h>
#endif

namespace rl::cpu::RL_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kWidth = 16, kTileRows = 4;
#elif defined(__AVX2__)
constexpr int kWidth = 8, kTileRows = 2;
#else
constexpr int kWidth = 4, kTileRows = 2;
#endif
typedef float Vec __attribute__((vector_size(kWidth * 4)));

/// Rows that are widened together: with K = 1536, 48 KB.
constexpr int64_t kRowBlock = 8;
/// Columns that are combined together: four vectors of AVX-512 a row.
constexpr int64_t kColumns = 64;
/// Rows that meet one panel of b, or columns of a, before the next: their slice of y stays in the second-level cache.
constexpr int64_t kPassRows = 64;

RL_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

RL_INLINE Vec load(const float *p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof(Vec));
  return v;
}

typedef float Four __attribute__((vector_size(16)));
typedef int32_t Pick __attribute__((vector_size(16)));

/// The sum of a vector's quarters.
RL_INLINE Four quarter(Vec v) {
  Four part[kWidth / 4];
  __builtin_memcpy(part, &v, sizeof(Vec));
  if constexpr (kWidth == 16) return (part[0] + part[2]) + (part[1] + part[3]);
  if constexpr (kWidth == 8) return part[0] + part[1];
  return part[0];
}

/// The four vectors' sums.
RL_INLINE Four totals(Vec v0, Vec v1, Vec v2, Vec v3) {
  const Four a = quarter(v0), b = quarter(v1), c = quarter(v2), d = quarter(v3);
  const Four ab = __builtin_shuffle(a, b, Pick{0, 4, 1, 5}) + __builtin_shuffle(a, b, Pick{2, 6, 3, 7});
  const Four cd = __builtin_shuffle(c, d, Pick{0, 4, 1, 5}) + __builtin_shuffle(c, d, Pick{2, 6, 3, 7});
  return __builtin_shuffle(ab, cd, Pick{0, 1, 4, 5}) + __builtin_shuffle(ab, cd, Pick{2, 3, 6, 7});
}

struct Dropout {
  uint64_t seed, stream;
  uint32_t threshold;  // 0: nothing is dropped
  float keep;          // 1 / (1 - p)
};

RL_INLINE Dropout dropout_of(const rl_dropout &d) {
  return {d.seed, d.stream, philox_threshold(d.p), d.p < 1 ? 1 / (1 - d.p) : 0};
}

#if defined(__AVX512BW__)
typedef uint64_t Wide __attribute__((vector_size(64)));

/// The 64-bit products of 32-bit lanes with a constant, as upper and lower halves.
RL_INLINE void multiply_wide(__m512i x, uint32_t constant, __m512i &high, __m512i &low) {
  const __m512i c = _mm512_set1_epi64(constant);
  const Wide even = reinterpret_cast<Wide>(_mm512_maskz_mul_epu32(0xff, x, c));
  const Wide odd = reinterpret_cast<Wide>(
      _mm512_maskz_mul_epu32(0xff, reinterpret_cast<__m512i>(reinterpret_cast<Wide>(x) >> 32), c));
  high = _mm512_mask_blend_epi32(0xaaaa, reinterpret_cast<__m512i>(even >> 32), reinterpret_cast<__m512i>(odd));
  low = _mm512_mask_blend_epi32(0xaaaa, reinterpret_cast<__m512i>(even), reinterpret_cast<__m512i>(odd << 32));
}

/// Bit i: whether column from + i of a row is dropped. `from` is a multiple of 64.
// philox4x32_10 for sixteen groups at once: what the compiler makes of the plain loop is half as fast.
uint64_t dropped(const Dropout &d, int64_t row, int64_t from) {
  __m512i c0 = _mm512_set1_epi32(static_cast<int32_t>(d.stream)),
          c1 = _mm512_set1_epi32(static_cast<int32_t>(d.stream >> 32));
  __m512i c2 = _mm512_set1_epi32(static_cast<int32_t>(row));
  __m512i c3 = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int32_t>(from / 4)),
                                _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  uint32_t k0 = static_cast<uint32_t>(d.seed), k1 = static_cast<uint32_t>(d.seed >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; round++) {
    __m512i high0, low0, high1, low1;
    multiply_wide(c0, 0xD2511F53u, high0, low0);
    multiply_wide(c2, 0xCD9E8D57u, high1, low1);
    c0 = _mm512_ternarylogic_epi32(high1, c1, _mm512_set1_epi32(static_cast<int32_t>(k0)), 0x96);  // a ^ b ^ c
    c2 = _mm512_ternarylogic_epi32(high0, c3, _mm512_set1_epi32(static_cast<int32_t>(k1)), 0x96);
    c1 = low1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  // p < 1 keeps the threshold below 2^24.
  const __m512i threshold = _mm512_set1_epi32(static_cast<int32_t>(d.threshold << 8));
  auto below = [&](__m512i words) { return static_cast<uint64_t>(_mm512_cmplt_epu32_mask(words, threshold)); };
  // Word w of group g is column 4 g + w.
  return _pdep_u64(below(c0), 0x1111111111111111u) | _pdep_u64(below(c1), 0x2222222222222222u) |
         _pdep_u64(below(c2), 0x4444444444444444u) | _pdep_u64(below(c3), 0x8888888888888888u);
}
#else
/// Bit i: whether column from + i of a row is dropped. `from` is a multiple of 64.
uint64_t dropped(const Dropout &d, int64_t row, int64_t from) {
  const uint64_t seed = d.seed, stream = d.stream;
  const uint32_t threshold = d.threshold, group = static_cast<uint32_t>(from / 4);
  uint32_t bits[16];
  RL_SIMD
  for (uint32_t g = 0; g < 16; g++) {
    const Philox4 p = philox(seed, stream, static_cast<uint32_t>(row), group + g);
    bits[g] = ((p.word[0] >> 8) < threshold ? 1u : 0u) | ((p.word[1] >> 8) < threshold ? 2u : 0u) |
              ((p.word[2] >> 8) < threshold ? 4u : 0u) | ((p.word[3] >> 8) < threshold ? 8u : 0u);
  }
  uint64_t all = 0;
  for (int g = 0; g < 16; g++) all |= static_cast<uint64_t>(bits[g]) << (4 * g);
  return all;
}
#endif

/// x[0:n] = dropped ? 0 : x / (1 - p), n <= 64.
RL_INLINE void drop(float *x, uint64_t bits, float keep, int64_t n) {
#if defined(__AVX512BW__)
  if (n == kColumns) {
    const __m512 factor = _mm512_set1_ps(keep);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
      const __mmask16 kept = static_cast<__mmask16>(~(bits >> (16 * v)));
      _mm512_storeu_ps(x + 16 * v, _mm512_maskz_mul_ps(kept, _mm512_loadu_ps(x + 16 * v), factor));
    }
    return;
  }
#endif
  for (int64_t j = 0; j < n; j++) x[j] = (bits >> j) & 1 ? 0 : x[j] * keep;
}

/// Columns from .. from + n - 1 of a row in f32, with dropout applied if d is given. `from` is a multiple of 64.
template <class X>
RL_INLINE void widen(float *out, const X *x, const Dropout *d, int64_t row, int64_t from, int64_t n) {
  RL_SIMD
  for (int64_t i = 0; i < n; i++) out[i] = to_f32(x[from + i]);
  if (!d || !d->threshold) return;
  for (int64_t i = 0; i < n; i += kColumns)
    drop(out + i, dropped(*d, row, from + i), d->keep, smaller(kColumns, n - i));
}

/// out[i * ldOut + j] = scale * sum_k x[i * ldX + k] m[j * k_total + k] for R rows and J columns.
template <int R, int J>
RL_INLINE void dots(float *out, int64_t ldOut, const float *x, int64_t ldX, const float *m, int64_t k, float scale) {
  Vec sum[R][J] = {};
  const int64_t whole = k / kWidth * kWidth;
  for (int64_t i = 0; i < whole; i += kWidth) {
    Vec b[J];
#pragma GCC unroll 4
    for (int j = 0; j < J; j++) b[j] = load(m + j * k + i);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
      const Vec a = load(x + r * ldX + i);
#pragma GCC unroll 4
      for (int j = 0; j < J; j++) sum[r][j] += a * b[j];
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) {
    const Four all = J == 4 ? totals(sum[r][0], sum[r][1 % J], sum[r][2 % J], sum[r][3 % J])
                            : totals(sum[r][0], sum[r][0], sum[r][0], sum[r][0]);
    for (int j = 0; j < J; j++) {
      float s = all[j];
      for (int64_t i = whole; i < k; i++) s += x[r * ldX + i] * m[j * k + i];
      out[r * ldOut + j] = s * scale;
    }
  }
}

template <int R>
void dots_rows(float *out, int64_t ldOut, const float *x, int64_t ldX, const float *m, int64_t rank, int64_t k,
               float scale) {
  int64_t j = 0;
  for (; j + 4 <= rank; j += 4) dots<R, 4>(out + j, ldOut, x, ldX, m + j * k, k, scale);
  for (; j < rank; j++) dots<R, 1>(out + j, ldOut, x, ldX, m + j * k, k, scale);
}

/// out [rows,rank] = scale x m^T, with m [rank,k].
void project(float *out, int64_t ldOut, const float *x, int64_t ldX, int64_t rows, const float *m, int64_t rank,
             int64_t k, float scale) {
  int64_t i = 0;
  for (; i + kTileRows <= rows; i += kTileRows)
    dots_rows<kTileRows>(out + i * ldOut, ldOut, x + i * ldX, ldX, m, rank, k, scale);
  for (; i < rows; i++) dots_rows<1>(out + i * ldOut, ldOut, x + i * ldX, ldX, m, rank, k, scale);
}

/// sum[r][0:64] = scale * sum_j c[r * ldC + j] m[j * ldM + 0:64] for R rows.
template <int R>
RL_INLINE void combine(float *sum, const float *c, int64_t ldC, int64_t rank, const float *m, int64_t ldM,
                       float scale) {
  // As many columns at a time as leave the sums in registers.
  constexpr int vectors = kWidth == 16 ? 4 : R == 1 ? 4 : 2;
  for (int64_t from = 0; from < kColumns; from += vectors * kWidth) {
    Vec v[R][vectors] = {};
    for (int64_t j = 0; j < rank; j++) {
      Vec b[vectors];
#pragma GCC unroll 4
      for (int i = 0; i < vectors; i++) b[i] = load(m + j * ldM + from + i * kWidth);
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
        for (int i = 0; i < vectors; i++) v[r][i] += b[i] * c[r * ldC + j];
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
      for (int i = 0; i < vectors; i++) {
        v[r][i] *= scale;
        __builtin_memcpy(sum + r * kColumns + from + i * kWidth, &v[r][i], sizeof(Vec));
      }
    }
  }
}

/// out[j * ld + c] = m[(from + c) * rank + j] for c < width, j < rank: a slice of m [.., rank] on its side.
void transpose(float *out, int64_t ld, const float *m, int64_t from, int64_t width, int64_t rank) {
  int64_t c = 0;
  if (rank % 4 == 0) {
    for (; c + 4 <= width; c += 4) {
      const float *in = m + (from + c) * rank;
      for (int64_t j = 0; j < rank; j += 4) {
        Four r[4];
        for (int i = 0; i < 4; i++) __builtin_memcpy(&r[i], in + i * rank + j, 16);
        const Four a = __builtin_shuffle(r[0], r[1], Pick{0, 4, 1, 5}),
                   b = __builtin_shuffle(r[0], r[1], Pick{2, 6, 3, 7});
        const Four d = __builtin_shuffle(r[2], r[3], Pick{0, 4, 1, 5}),
                   e = __builtin_shuffle(r[2], r[3], Pick{2, 6, 3, 7});
        const Four turned[4] = {__builtin_shuffle(a, d, Pick{0, 1, 4, 5}), __builtin_shuffle(a, d, Pick{2, 3, 6, 7}),
                                __builtin_shuffle(b, e, Pick{0, 1, 4, 5}), __builtin_shuffle(b, e, Pick{2, 3, 6, 7})};
        for (int i = 0; i < 4; i++) __builtin_memcpy(out + (j + i) * ld + c, &turned[i], 16);
      }
    }
  }
  for (; c < width; c++) {
    for (int64_t j = 0; j < rank; j++) out[j * ld + c] = m[(from + c) * rank + j];
  }
}

/// b [n,rank] in panels of 64 columns of its transpose, the last one filled up with zeros.
void make_panels(float *panels, const float *b, int64_t n, int64_t rank) {
  for (int64_t c = 0; c < n; c += kColumns) {
    float *panel = panels + c * rank;
    const int64_t width = smaller(kColumns, n - c);
    transpose(panel, kColumns, b, c, width, rank);
    for (int64_t j = 0; j < rank; j++) {
      for (int64_t i = width; i < kColumns; i++) panel[j * kColumns + i] = 0;
    }
  }
}

template <class Y>
RL_INLINE void add_to(Y *y, const float *sum, int64_t n) {
  if (n == kColumns) {
    RL_SIMD
    for (int64_t i = 0; i < kColumns; i++) y[i] = from_f32<Y>(to_f32(y[i]) + sum[i]);
  } else {
    for (int64_t i = 0; i < n; i++) y[i] = from_f32<Y>(to_f32(y[i]) + sum[i]);
  }
}

int64_t largest_rank(const LoraSegment *segments, int32_t count) {
  int64_t rank = 1;
  for (int32_t s = 0; s < count; s++) rank = segments[s].a.rows() > rank ? segments[s].a.rows() : rank;
  return rank;
}

/// The part of segment s that lies in rows begin .. end - 1.
struct Range {
  int64_t begin, end;
};
RL_INLINE Range within(const LoraSegment &s, int64_t begin, int64_t end) {
  const Range r = {s.begin > begin ? s.begin : begin, smaller(s.end, end)};
  return r;
}

/// Forward of some rows. wide: kRowBlock * K floats; panels: those of b.
template <class X, class Y>
void forward_rows(const LoraSegment &s, int64_t begin, int64_t end, const View &y, const View &h, const View &x,
                  const Dropout &d, float *wide, const float *panels) {
  const int64_t k = x.cols(), n = y.cols(), rank = s.a.rows(), ld = h.row_stride();
  for (int64_t t0 = begin; t0 < end; t0 += kRowBlock) {
    const int64_t rows = smaller(kRowBlock, end - t0);
    for (int64_t t = t0; t < t0 + rows; t++) widen(wide + (t - t0) * k, x.row<X>(t), &d, t, 0, k);
    project(h.row<float>(t0), ld, wide, k, rows, s.a.f32(), rank, k, 1);
  }
  for (int64_t t0 = begin; t0 < end; t0 += kPassRows) {
    const int64_t t1 = smaller(t0 + kPassRows, end);
    for (int64_t c = 0; c < n; c += kColumns) {
      const int64_t width = smaller(kColumns, n - c);
      float sum[kTileRows * kColumns];
      int64_t t = t0;
      for (; t + kTileRows <= t1; t += kTileRows) {
        combine<kTileRows>(sum, h.row<float>(t), ld, rank, panels + c * rank, kColumns, s.scale);
        for (int r = 0; r < kTileRows; r++) add_to(y.row<Y>(t + r) + c, sum + r * kColumns, width);
      }
      for (; t < t1; t++) {
        combine<1>(sum, h.row<float>(t), ld, rank, panels + c * rank, kColumns, s.scale);
        add_to(y.row<Y>(t) + c, sum, width);
      }
    }
  }
}

/// Dropout's masks of some rows, their gh and their gradX. masks: bits, 64 columns a word.
/// wide: kRowBlock * max(K, N) floats.
template <class X, class G, class GX>
void backward_rows(const LoraSegment &s, int64_t begin, int64_t end, const View &gradX, const View &gradY,
                   const Dropout &d, uint64_t *masks, int64_t ldMasks, const float *bt, float *gh, int64_t ldGh,
                   float *wide) {
  const int64_t n = gradY.cols(), rank = s.a.rows();
  if (d.threshold) {
    for (int64_t t = begin; t < end; t++) {
      for (int64_t i = 0; i < ldMasks; i++) masks[t * ldMasks + i] = dropped(d, t, i * kColumns);
    }
  }
  for (int64_t t0 = begin; t0 < end; t0 += kRowBlock) {
    const int64_t rows = smaller(kRowBlock, end - t0);
    for (int64_t t = t0; t < t0 + rows; t++) widen(wide + (t - t0) * n, gradY.row<G>(t), nullptr, t, 0, n);
    project(gh + t0 * ldGh, ldGh, wide, n, rows, bt, rank, n, s.scale);
  }
  if (!gradX) return;
  const int64_t k = gradX.cols();
  const float *a = s.a.f32();
  auto add = [&](int64_t t, float *sum, int64_t c, int64_t width) {
    if (d.threshold) drop(sum, masks[t * ldMasks + c / kColumns], d.keep, width);
    add_to(gradX.row<GX>(t) + c, sum, width);
  };
  for (int64_t t0 = begin; t0 < end; t0 += kPassRows) {
    const int64_t t1 = smaller(t0 + kPassRows, end);
    for (int64_t c = 0; c < k; c += kColumns) {
      const int64_t width = smaller(kColumns, k - c);
      float sum[kTileRows * kColumns];
      int64_t t = t0;
      if (width == kColumns) {
        for (; t + kTileRows <= t1; t += kTileRows) {
          combine<kTileRows>(sum, gh + t * ldGh, ldGh, rank, a + c, k, 1);
          for (int r = 0; r < kTileRows; r++) add(t + r, sum + r * kColumns, c, width);
        }
        for (; t < t1; t++) {
          combine<1>(sum, gh + t * ldGh, ldGh, rank, a + c, k, 1);
          add(t, sum, c, width);
        }
      }
      for (; t < t1; t++) {
        for (int64_t i = 0; i < width; i++) sum[i] = 0;
        for (int64_t j = 0; j < rank; j++) {
          for (int64_t i = 0; i < width; i++) sum[i] += gh[t * ldGh + j] * a[j * k + c + i];
        }
        add(t, sum, c, width);
      }
    }
  }
}

/// sum[j][0:64] = sum over the segment's rows of c[t][j] * x[t][from + 0:64], x after the dropout of
/// `masks` if there are any. wide: kOuterRows * 64 floats.
constexpr int64_t kOuterRows = 64;
template <class X>
void outer(float *sum, const LoraSegment &s, const float *c, int64_t ldC, const View &x, const uint64_t *masks,
           int64_t ldMasks, float keep, int64_t from, int64_t width, float *wide) {
  constexpr int vectors = kColumns / kWidth;
  const int64_t rank = s.a.rows();
  for (int64_t i = 0; i < rank * kColumns; i++) sum[i] = 0;
  for (int64_t t0 = s.begin; t0 < s.end; t0 += kOuterRows) {
    const int64_t rows = smaller(kOuterRows, s.end - t0);
    for (int64_t t = 0; t < rows; t++) {
      float *row = wide + t * kColumns;
      for (int64_t i = width; i < kColumns; i++) row[i] = 0;
      widen(row, x.row<X>(t0 + t), nullptr, t0 + t, from, width);
      if (masks) drop(row, masks[(t0 + t) * ldMasks + from / kColumns], keep, width);
    }
    constexpr int together = kWidth == 16 ? 4 : 1;  // ranks whose sums fit in the registers beside a row
    for (int64_t j0 = 0; j0 < rank; j0 += together) {
      const int64_t js = smaller(together, rank - j0);
      if (js == together) {
        Vec v[together][vectors];
        for (int j = 0; j < together; j++) {
          for (int i = 0; i < vectors; i++) v[j][i] = load(sum + (j0 + j) * kColumns + i * kWidth);
        }
        for (int64_t t = 0; t < rows; t++) {
          const float *coefficients = c + (t0 + t) * ldC + j0;
#pragma GCC unroll 16
          for (int i = 0; i < vectors; i++) {
            const Vec row = load(wide + t * kColumns + i * kWidth);
#pragma GCC unroll 4
            for (int j = 0; j < together; j++) v[j][i] += row * coefficients[j];
          }
        }
        for (int j = 0; j < together; j++) {
          for (int i = 0; i < vectors; i++)
            __builtin_memcpy(sum + (j0 + j) * kColumns + i * kWidth, &v[j][i], sizeof(Vec));
        }
      } else {
        for (int64_t t = 0; t < rows; t++) {
          for (int64_t j = j0; j < j0 + js; j++) {
            const float coefficient = c[(t0 + t) * ldC + j];
            RL_SIMD
            for (int64_t i = 0; i < kColumns; i++) sum[j * kColumns + i] += coefficient * wide[t * kColumns + i];
          }
        }
      }
    }
  }
}

/// y += scale h b^T and h = drop(x) a^T.
void add_lora(Device &device, const View &y, const View &x, const Lora &lora) {
  const LoraSegment *segments = lora.segments;
  const int32_t count = lora.count;
  const View &h = lora.h;
  if (count == 0) return;
  const Dropout d = dropout_of(lora.dropout);
  const int64_t k = x.cols(), n = y.cols(), padded = (n + kColumns - 1) / kColumns * kColumns;
  int64_t work = 0, ranks = 0;
  for (int32_t s = 0; s < count; s++) {
    work += (segments[s].end - segments[s].begin) * (k + n) * segments[s].a.rows();
    ranks += segments[s].a.rows();
  }
  const int threads = cpu(device).threads();
  const bool parallel = work > 400000;
  // One task per thread: its share of the rows, whatever segments they are in.
  const int64_t tasks = parallel ? threads : 1;
  float *wide = cpu(device).scratch<float>(tasks * kRowBlock * k), *panels = cpu(device).scratch<float>(ranks * padded);
  const int64_t first = segments[0].begin, last = segments[count - 1].end;
  with_float(x.dtype, [&](auto tx) {
    with_float(y.dtype, [&](auto ty) {
      using X = decltype(tx);
      using Y = decltype(ty);
#pragma omp parallel num_threads(threads) if (parallel)
      {
#pragma omp for schedule(static)
        for (int32_t s = 0; s < count; s++) {
          int64_t before = 0;
          for (int32_t q = 0; q < s; q++) before += segments[q].a.rows();
          if (segments[s].begin < segments[s].end)
            make_panels(panels + before * padded, segments[s].b.f32(), n, segments[s].a.rows());
        }
#pragma omp for schedule(static, 1)
        for (int64_t task = 0; task < tasks; task++) {
          const int64_t begin = first + (last - first) * task / tasks,
                        end = first + (last - first) * (task + 1) / tasks;
          const float *b = panels;
          for (int32_t s = 0; s < count; s++) {
            const Range r = within(segments[s], begin, end);
            if (r.begin < r.end)
              forward_rows<X, Y>(segments[s], r.begin, r.end, y, h, x, d, wide + task * kRowBlock * k, b);
            b += segments[s].a.rows() * padded;
          }
        }
      }
    });
  });
}

/// gradX += (gh a) mask, and the gradients of the adapters.
void add_lora_backward(Device &device, const View &gradX, const View &gradY, const View &x, const Lora &lora) {
  const LoraSegment *segments = lora.segments;
  const int32_t count = lora.count;
  const View &h = lora.h;
  if (count == 0) return;
  const Dropout d = dropout_of(lora.dropout);
  const int64_t k = x.cols(), n = gradY.cols(), rows = x.rows(), rank = largest_rank(segments, count);
  const int threads = cpu(device).threads();
  int64_t active = 0, ranks = 0;
  for (int32_t s = 0; s < count; s++) {
    active += segments[s].end - segments[s].begin;
    ranks += segments[s].a.rows();
  }
  const bool parallel = active * (k + n) * rank > 200000;
  const int64_t tasks = parallel ? threads : 1, wide_size = kRowBlock * (k > n ? k : n);
  float *wide = cpu(device).scratch<float>(tasks * wide_size);
  float *gh = cpu(device).scratch<float>(rows * rank);
  float *bt = cpu(device).scratch<float>(ranks * n);
  const int64_t words = (k + kColumns - 1) / kColumns;
  uint64_t *masks = d.threshold ? cpu(device).scratch<uint64_t>(rows * words) : nullptr;
  float *sums = cpu(device).scratch<float>(tasks * (rank + kOuterRows) * kColumns);
  int64_t done = 0;
  for (int32_t s = 0; s < count; s++) {
    const int64_t r = segments[s].a.rows();
    transpose(bt + done * n, n, segments[s].b.f32(), 0, n, r);
    done += r;
  }
  const int64_t first = segments[0].begin, last = segments[count - 1].end;
  const int64_t panels_a = (k + kColumns - 1) / kColumns, panels_b = (n + kColumns - 1) / kColumns;
  with_float(x.dtype, [&](auto tx) {
    with_float(gradY.dtype, [&](auto tg) {
      with_float(gradX ? gradX.dtype : RL_F32, [&](auto tgx) {
        using X = decltype(tx);
        using G = decltype(tg);
        using GX = decltype(tgx);
#pragma omp parallel num_threads(threads) if (parallel)
        {
#pragma omp for schedule(static, 1)
          for (int64_t task = 0; task < tasks; task++) {
            const int64_t begin = first + (last - first) * task / tasks,
                          end = first + (last - first) * (task + 1) / tasks;
            const float *b = bt;
            for (int32_t s = 0; s < count; s++) {
              const Range r = within(segments[s], begin, end);
              if (r.begin < r.end) {
                backward_rows<X, G, GX>(segments[s], r.begin, r.end, gradX, gradY, d, masks, words, b, gh, rank,
                                        wide + task * wide_size);
              }
              b += segments[s].a.rows() * n;
            }
          }
          // Parameter gradients by columns: every thread owns some, so the order of the sums does not depend on their
          // number.
          float *sum = sums + (parallel ? omp_get_thread_num() : 0) * (rank + kOuterRows) * kColumns;
          float *slice = sum + rank * kColumns;
#pragma omp for schedule(static)
          for (int64_t panel = 0; panel < panels_a + panels_b; panel++) {
            const bool of_a = panel < panels_a;
            const int64_t c = (of_a ? panel : panel - panels_a) * kColumns,
                          width = smaller(kColumns, (of_a ? k : n) - c);
            for (int32_t q = 0; q < count; q++) {
              const LoraSegment &s = segments[q];
              const int64_t r = s.a.rows();
              if (!s.gradA || s.begin >= s.end) continue;
              if (of_a) {
                outer<X>(sum, s, gh, rank, x, masks, words, d.keep, c, width, slice);
                for (int64_t j = 0; j < r; j++) {
                  float *out = s.gradA.f32() + j * k + c;
                  for (int64_t i = 0; i < width; i++) out[i] += sum[j * kColumns + i];
                }
              } else {
                outer<G>(sum, s, h.f32(), h.row_stride(), gradY, nullptr, 0, 1, c, width, slice);
                for (int64_t i = 0; i < width; i++) {
                  float *out = s.gradB.f32() + (c + i) * r;
                  for (int64_t j = 0; j < r; j++) out[j] += s.scale * sum[j * kColumns + i];
                }
              }
            }
          }
        }
      });
    });
  });
}

}  // namespace

void lora_linear(Device &device, View y, View x, const Weight &weight, View bias, const Lora *loras, int32_t count) {
  linear(device, y, x, weight, bias, false);
  for (int32_t i = 0; i < count; i++) add_lora(device, columns(y, loras[i].from, loras[i].to), x, loras[i]);
}

void lora_linear_backward(Device &device, View gradX, View gradY, View x, const Weight &weight, const Lora *loras,
                          int32_t count) {
  if (gradX) linear_backward_input(device, gradX, gradY, weight, false);
  for (int32_t i = 0; i < count; i++) {
    add_lora_backward(device, gradX, columns(gradY, loras[i].from, loras[i].to), x, loras[i]);
  }
}

void dropout_apply(Device &device, View y, View x, const rl_dropout &dropout) {
  const Dropout d = dropout_of(dropout);
  const int64_t rows = x.rows(), n = x.cols();
  with_float(x.dtype, [&](auto tx) {
    with_float(y.dtype, [&](auto ty) {
      using X = decltype(tx);
      using Y = decltype(ty);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * n > 8192)
      for (int64_t t = 0; t < rows; t++) {
        Y *out = y.row<Y>(t);
        for (int64_t c = 0; c < n; c += kColumns) {
          float part[kColumns];
          const int64_t width = smaller(kColumns, n - c);
          widen(part, x.row<X>(t), &d, t, c, width);
          for (int64_t i = 0; i < width; i++) out[c + i] = from_f32<Y>(part[i]);
        }
      }
    });
  });
}

}  // namespace rl::cpu::RL_ISA
