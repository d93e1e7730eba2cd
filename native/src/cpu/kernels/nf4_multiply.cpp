// Y[m,n] = X[m,k] B[k,n] (+ Y) (+ bias) for a B that is dequantised on the way, f32 sums in the order of k.
// Forward, B = W^T: within 64 steps of k a column has one absmax, so sum x * code first and multiply by absmax after,
//   y = sum over blocks of absmax_block * sum over block of x * code.
// Backward, B = W: columns of one block, absmax changes with every step; dequantise, code * absmax.
// Matrices whose blocks cross rows are dequantised in both.
// The panel of 64 columns at hand is in scratch memory some steps at a time, and all rows pass over it; few rows take the codes
// straight from the words, in registers. The arithmetic is the same whatever the number of rows.
#include "cpu/kernels/nf4_multiply.h"

#include <omp.h>

#include "cpu/kernels/nf4.h"

namespace rl::cpu::RL_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kVectors = 4, kRows = 6;
#elif defined(__AVX2__)
constexpr int kVectors = 2, kRows = 6;
#else
constexpr int kVectors = 2, kRows = 4;
#endif
constexpr int64_t kColumns = kWidth * kVectors;
/// Steps that are dequantised at a time: 16 KiB, which stay in the first-level cache.
template <class T>
constexpr int64_t kChunk = 256 / sizeof(T);
/// Cache lines of a tile's words.
constexpr int64_t kTileLines = 32;
/// Two groups of so many rows, or one, take the codes straight from the words.
constexpr int kDirectRows = 4;
/// Rows of a task where there are few panels.
constexpr int64_t kTaskRows = 48;

RL_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/// How a word is shifted for its code of column 0 to 7.
constexpr int shift_of(int column) { return column % 2 * 16 + column / 2 * 4; }

RL_INLINE vecu load_words(const uint32_t *words) {
  vecu y;
  __builtin_memcpy(&y, words, sizeof(y));
  return y;
}

// ---- the scales ------------------------------------------------------------------------------------------------------

RL_INLINE float absmax_of(const Nf4Matrix &w, const Nf4Matrix::Part &part, int64_t at, int64_t block) {
  if (!w.doubled) return static_cast<const float *>(w.absmax())[at];
  const float *tables = w.tables();
  return tables[part.nestedCode + static_cast<const uint8_t *>(w.absmax())[at]] *
             tables[part.nestedAbsmax + block / kNf4NestedBlock] +
         part.offset;
}

/// absmax * factor of 64 rows in one block of columns; 0 for rows of padding.
void tile_scales(float *y, const Nf4Matrix &w, int64_t panel, int64_t block, float factor) {
  const int64_t blocks = w.k / kNf4Block, at = (panel * blocks + block) * kPanel;
  if (!w.doubled) {
    const float *absmax = static_cast<const float *>(w.absmax()) + at;
    RL_SIMD
    for (int64_t j = 0; j < kPanel; j++) y[j] = absmax[j] * factor;
    return;
  }
  const uint8_t *absmax = static_cast<const uint8_t *>(w.absmax()) + at;
  const Nf4Matrix::Part *part = w.parts();
  int64_t j = 0;
  for (int64_t row = panel * kPanel; j < kPanel && row < w.n; row = part->end) {
    while (row >= part->end) part++;
    const float *code = w.tables() + part->nestedCode, *nested = w.tables() + part->nestedAbsmax;
    const float offset = part->offset;
    const int64_t end = smaller(part->end - panel * kPanel, kPanel);
    uint64_t index = static_cast<uint64_t>((row - part->begin) * blocks + block);
    for (; j < end; j++, index += static_cast<uint64_t>(blocks)) {
      y[j] = (code[absmax[j]] * nested[index / kNf4NestedBlock] + offset) * factor;
    }
  }
  for (; j < kPanel; j++) y[j] = 0;
}

// ---- panels in scratch memory: [steps][64], bf16 in pairs of steps --------------------------------------------------

/// Forward: codes alone, of columns [k0, k1).
RL_INLINE void forward_panel(float *y, const Nf4Matrix &w, int64_t panel, int64_t k0, int64_t k1) {
  const uint32_t *words = w.words() + (panel * w.k + k0) / 8 * kPanel;
  for (int64_t g = 0; g < (k1 - k0) / 8; g++) {
    for (int64_t c = 0; c < kPanel; c += kWidth) {
      const vecu eight = load_words(words + g * kPanel + c);
#pragma GCC unroll 8
      for (int i = 0; i < 8; i++) store(y + (g * 8 + i) * kPanel + c, nf4_codes(eight >> shift_of(i)));
    }
  }
}

template <class T>
RL_INLINE void put(T *panel, int64_t step, int64_t column, float value) {
  constexpr int64_t pair = sizeof(T) == 2 ? 2 : 1;
  panel[step / pair * (pair * kPanel) + column * pair + step % pair] = from_f32<T>(value);
}

/// The codes of columns [from, from + kWidth) of row `row` in the words of a tile.
RL_INLINE vecf row_codes(const uint32_t *tile, int64_t row, int64_t from) {
  const uint32_t *word = tile + from / 8 * kPanel + row;
#if defined(__AVX512F__)
  const vecu shift = {0, 16, 4, 20, 8, 24, 12, 28, 0, 16, 4, 20, 8, 24, 12, 28};
  const __m512i low = _mm512_set1_epi32(static_cast<int32_t>(word[0]));
  const __m512i both = _mm512_mask_broadcastd_epi32(low, 0xff00, _mm_loadu_si32(word + kPanel));
  return nf4_codes(reinterpret_cast<vecu>(both) >> shift);
#elif defined(__AVX2__)
  const vecu shift = {0, 16, 4, 20, 8, 24, 12, 28};
  return nf4_codes((vecu{} + *word) >> shift);
#else
  const vecu shift = {0, 16, 4, 20};
  return nf4_codes((vecu{} + *word) >> shift >> (from % 8 * 2));
#endif
}

/// Backward: rows [n0, n1) of 64 columns.
void backward_panel(float *y, const Nf4Matrix &w, int64_t block, int64_t n0, int64_t n1) {
  const int64_t blocks = w.k / kNf4Block;
  for (int64_t n = n0; n < n1; n += kPanel, y += kPanel * kPanel) {
    float scales[kPanel];
    tile_scales(scales, w, n / kPanel, block, 1);
    const uint32_t *tile = w.words() + (n / kPanel * blocks + block) * 8 * kPanel;
    for (int64_t j = 0; j < smaller(kPanel, n1 - n); j++) {
      for (int64_t c = 0; c < kPanel; c += kWidth) store(y + j * kPanel + c, row_codes(tile, j, c) * scales[j]);
    }
  }
}

/// Blocks that cross rows: rows [row0, row1) and columns [col0, col1) of W. A row is a column of the panel in the forward, a
/// step of it in the backward.
template <class T>
RL_INLINE void flat_panel(T *y, const Nf4Matrix &w, bool forward, int64_t row0, int64_t row1, int64_t col0,
                          int64_t col1) {
  const Nf4Matrix::Part *part = w.parts();
  for (int64_t row = row0; row < row1; row++) {
    while (row >= part->end) part++;
    for (int64_t col = col0; col < col1; col++) {
      const int64_t at = (row - part->begin) * w.k + col, block = at / kNf4Block;
      const uint32_t byte = w.codes()[part->codes + at / 2];
      const float code = kNf4Codes[at % 2 ? byte & 15u : byte >> 4];
      const int64_t step = forward ? col - col0 : row - row0, column = forward ? row - row0 : col - col0;
      put(y, step, column, code * absmax_of(w, *part, part->absmax + block, block));
    }
  }
}

void stored_row(float *y, const Nf4Matrix &w, int64_t row) {
  const Nf4Matrix::Part *part = w.parts();
  while (row >= part->end) part++;
  for (int64_t i = 0; i < w.k; i++) {
    const int64_t at = (row - part->begin) * w.k + i, block = at / kNf4Block;
    const uint32_t byte = w.codes()[part->codes + at / 2];
    y[i] = kNf4Codes[at % 2 ? byte & 15u : byte >> 4] * absmax_of(w, *part, part->absmax + block, block);
  }
}

// ---- rows times panel ------------------------------------------------------------------------------------------------

RL_INLINE vecf add_block(vecf total, vecf sum, vecf scale) { return total + sum * scale; }

/// total[R][64] += X panel; with scales, of each 64 steps, times theirs. x: row r begins at x + r * ldx.
template <int R>
void rows_times_panel(float *total, const float *x, int64_t ldx, const float *panel, const float *scales,
                      int64_t steps) {
  const int64_t length = scales ? kNf4Block : steps;
  for (int64_t c = 0; c < kPanel; c += kColumns) {
    for (int64_t begin = 0; begin < steps; begin += length) {
      vecf sum[R][kVectors] = {};
      if (!scales) {
        for (int r = 0; r < R; r++) {
          for (int v = 0; v < kVectors; v++) sum[r][v] = load(total + r * kPanel + c + v * kWidth);
        }
      }
      for (int64_t i = begin; i < begin + length; i++) {
        vecf b[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; v++) b[v] = load(panel + i * kPanel + c + v * kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; v++) sum[r][v] += b[v] * x[r * ldx + i];
        }
      }
      for (int r = 0; r < R; r++) {
        for (int v = 0; v < kVectors; v++) {
          float *at = total + r * kPanel + c + v * kWidth;
          store(at, scales ? add_block(load(at), sum[r][v], load(scales + begin + c + v * kWidth)) : sum[r][v]);
        }
      }
    }
  }
}

/// The same from the words of a panel's tiles.
template <int R>
void rows_times_words(float *total, const float *x, int64_t ldx, const uint32_t *words, const float *scales,
                      int64_t steps) {
  for (int64_t c = 0; c < kPanel; c += kColumns) {
    for (int64_t begin = 0; begin < steps; begin += kNf4Block) {
      vecf sum[R][kVectors] = {};
      for (int64_t i = begin; i < begin + kNf4Block; i += 8) {
        vecu eight[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; v++) eight[v] = load_words(words + i / 8 * kPanel + c + v * kWidth);
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; v++) {
            const vecf b = nf4_codes(eight[v] >> shift_of(j));
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) sum[r][v] += b * x[r * ldx + i + j];
          }
        }
      }
      for (int r = 0; r < R; r++) {
        for (int v = 0; v < kVectors; v++) {
          float *at = total + r * kPanel + c + v * kWidth;
          store(at, add_block(load(at), sum[r][v], load(scales + begin + c + v * kWidth)));
        }
      }
    }
  }
}

#if defined(__AVX512BW__)
#define RL_DOT __attribute__((target("avx512bf16")))

bool has_dot_product() {
  static const bool has = __builtin_cpu_supports("avx512bf16");
  return has;
}

/// The codes in bf16 times kNf4CodeScale, twice: of a word's index the permutation heeds five bits, of which the highest is the
/// next code's.
struct CodeWords {
  constexpr CodeWords() {
    for (int i = 0; i < 32; i++) {
      const uint32_t bits = __builtin_bit_cast(uint32_t, kNf4Codes[i % 16] * kNf4CodeScale);
      word[i] = static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
    }
  }
  alignas(64) uint16_t word[32] = {};
};
constexpr CodeWords kCodeWords;

/// The codes in the lowest bits of the halves. (With a mask of all: GCC 12 warns of its own header otherwise.)
RL_INLINE __m512i pair_of(vecu words, __m512i table) {
  return _mm512_maskz_permutexvar_epi16(0xffffffffu, reinterpret_cast<__m512i>(words), table);
}

void forward_panel(bf16 *y, const Nf4Matrix &w, int64_t panel, int64_t k0, int64_t k1) {
  const __m512i table = _mm512_load_si512(kCodeWords.word);
  const uint32_t *words = w.words() + (panel * w.k + k0) / 8 * kPanel;
  for (int64_t g = 0; g < (k1 - k0) / 8; g++) {
    for (int64_t c = 0; c < kPanel; c += kWidth) {
      vecu eight = load_words(words + g * kPanel + c);
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        _mm512_storeu_si512(y + ((g * 4 + i) * kPanel + c) * 2, pair_of(eight, table));
        eight >>= 4;
      }
    }
  }
}

RL_DOT void backward_panel(bf16 *y, const Nf4Matrix &w, int64_t block, int64_t n0, int64_t n1) {
  const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                              6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const int64_t blocks = w.k / kNf4Block;
  for (int64_t n = n0; n < n1; n += kPanel, y += kPanel * kPanel) {
    float scales[kPanel];  // 0 beyond the last row
    tile_scales(scales, w, n / kPanel, block, 1);
    const uint32_t *tile = w.words() + (n / kPanel * blocks + block) * 8 * kPanel;
    for (int64_t j = 0; j < smaller(kPanel, n1 - n); j += 2) {
      for (int64_t c = 0; c < kPanel; c += kWidth) {
        const vecf low = row_codes(tile, j, c) * scales[j], high = row_codes(tile, j + 1, c) * scales[j + 1];
        const __m512bh pairs = _mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(high), reinterpret_cast<__m512>(low));
        _mm512_storeu_si512(y + j * kPanel + c * 2,
                            _mm512_maskz_permutexvar_epi16(0xffffffffu, interleave, reinterpret_cast<__m512i>(pairs)));
      }
    }
  }
}

RL_DOT inline __m512 dot(__m512 sum, const bf16 *x, __m512i b) {
  int32_t pair;
  __builtin_memcpy(&pair, x, 4);
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair)), reinterpret_cast<__m512bh>(b));
}

template <int R>
RL_DOT void rows_times_panel(float *total, const bf16 *x, int64_t ldx, const bf16 *panel, const float *scales,
                             int64_t steps) {
  const int64_t length = scales ? kNf4Block : steps;
  for (int64_t begin = 0; begin < steps; begin += length) {
    __m512 sum[R][4];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
      for (int v = 0; v < 4; v++)
        sum[r][v] = scales ? _mm512_setzero_ps() : _mm512_loadu_ps(total + r * kPanel + v * 16);
    }
    for (int64_t i = begin; i < begin + length; i += 2) {
      __m512i b[4];
#pragma GCC unroll 4
      for (int v = 0; v < 4; v++) b[v] = _mm512_loadu_si512(panel + i * kPanel + v * 32);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) sum[r][v] = dot(sum[r][v], x + r * ldx + i, b[v]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
      for (int v = 0; v < 4; v++) {
        float *at = total + r * kPanel + v * 16;
        _mm512_storeu_ps(
            at, scales ? _mm512_fmadd_ps(sum[r][v], _mm512_loadu_ps(scales + begin + v * 16), _mm512_loadu_ps(at))
                       : sum[r][v]);
      }
    }
  }
}

template <int R>
RL_DOT void rows_times_words(float *total, const bf16 *x, int64_t ldx, const uint32_t *words, const float *scales,
                             int64_t steps) {
  const __m512i table = _mm512_load_si512(kCodeWords.word);
  for (int64_t begin = 0; begin < steps; begin += kNf4Block) {
    __m512 sum[R][4];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
      for (int v = 0; v < 4; v++) sum[r][v] = _mm512_setzero_ps();
    }
    for (int64_t i = begin; i < begin + kNf4Block; i += 8) {
      vecu eight[4];
#pragma GCC unroll 4
      for (int v = 0; v < 4; v++) eight[v] = load_words(words + i / 8 * kPanel + v * kWidth);
#pragma GCC unroll 4
      for (int j = 0; j < 8; j += 2) {
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
          const __m512i b = pair_of(eight[v], table);
          eight[v] >>= 4;
#pragma GCC unroll 8
          for (int r = 0; r < R; r++) sum[r][v] = dot(sum[r][v], x + r * ldx + i + j, b);
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
      for (int v = 0; v < 4; v++) {
        float *at = total + r * kPanel + v * 16;
        _mm512_storeu_ps(at, _mm512_fmadd_ps(sum[r][v], _mm512_loadu_ps(scales + begin + v * 16), _mm512_loadu_ps(at)));
      }
    }
  }
}
#else
bool has_dot_product() { return false; }
#endif

template <class T>
void rows_times_panel(int rows, float *total, const T *x, int64_t ldx, const T *panel, const float *scales,
                      int64_t steps) {
  switch (rows) {
    case 1:
      return rows_times_panel<1>(total, x, ldx, panel, scales, steps);
    case 2:
      return rows_times_panel<2>(total, x, ldx, panel, scales, steps);
    case 3:
      return rows_times_panel<3>(total, x, ldx, panel, scales, steps);
    case 4:
      return rows_times_panel<4>(total, x, ldx, panel, scales, steps);
    case 5:
      if constexpr (kRows >= 5) return rows_times_panel<5>(total, x, ldx, panel, scales, steps);
      break;
    default:
      if constexpr (kRows >= 6) return rows_times_panel<6>(total, x, ldx, panel, scales, steps);
  }
}

template <class T>
void rows_times_words(int rows, float *total, const T *x, int64_t ldx, const uint32_t *words, const float *scales,
                      int64_t steps) {
  switch (rows) {
    case 1:
      return rows_times_words<1>(total, x, ldx, words, scales, steps);
    case 2:
      return rows_times_words<2>(total, x, ldx, words, scales, steps);
    case 3:
      return rows_times_words<3>(total, x, ldx, words, scales, steps);
    default:
      return rows_times_words<4>(total, x, ldx, words, scales, steps);
  }
}

// ---- the product -----------------------------------------------------------------------------------------------------

template <class Y>
RL_INLINE void finish(Y *y, const float *sum, int64_t n, const float *bias, bool accumulate) {
  RL_SIMD
  for (int64_t i = 0; i < n; i++) {
    y[i] = from_f32<Y>((accumulate ? to_f32(y[i]) + sum[i] : sum[i]) + (bias ? bias[i] : 0));
  }
}

/// T: what X is in, and panels in scratch.
template <class T, class Y>
void product(CpuDevice &device, const View &y, const View &x, const Matrix &b, const float *bias, bool accumulate) {
  const Nf4Matrix &w = *static_cast<const Nf4Matrix *>(b.data);
  const bool forward = b.layout == Layout::nf4, scaled = forward && w.tiled;
  const int64_t m = x.rows(), panels = (b.n + kPanel - 1) / kPanel, chunk = kChunk<T>;
  // Every task dequantises its panel for itself: rows are shared out only where there are few panels.
  const int64_t threads = device.threads(),
                blocks = smaller((m + kTaskRows - 1) / kTaskRows, (8 * threads - 1) / panels + 1);
  const int64_t most = (m + blocks - 1) / blocks;
  const bool direct = scaled && most <= 2 * kDirectRows;
  const int64_t group_rows = direct ? kDirectRows : kRows;
  const float factor = sizeof(T) == 2 ? 1 / kNf4CodeScale : 1;
  const int64_t panel_size = chunk * kPanel * static_cast<int64_t>(sizeof(T)) / 4;
  const int64_t per_thread = panel_size + chunk + most * kPanel;  // panel, scales, sums
  float *scratch = device.scratch<float>(per_thread * threads);
  // The tile of panel p and step s.
  auto tile_words = [&](int64_t p, int64_t s) {
    const int64_t row = b.from + (forward ? p * kPanel : s), column = forward ? s : p * kPanel;
    return w.words() + (row / kPanel * w.k + column) / 8 * kPanel;
  };
  const bool parallel = m * b.n * b.k > 100000;
#pragma omp parallel for schedule(static) num_threads(device.threads()) if (parallel)
  for (int64_t task = 0; task < panels * blocks; task++) {
    const int64_t p = task / blocks, block = task % blocks;
    const int64_t begin = block * m / blocks, rows = (block + 1) * m / blocks - begin;
    const int64_t column = p * kPanel, columns = smaller(kPanel, b.n - column);
    float *mine = scratch + per_thread * omp_get_thread_num(), *scales = mine + panel_size, *total = scales + chunk;
    T *panel = reinterpret_cast<T *>(mine);
    __builtin_memset(total, 0, static_cast<size_t>(rows * kPanel) * 4);
    for (int64_t s0 = 0; s0 < b.k; s0 += chunk) {
      const int64_t s1 = smaller(s0 + chunk, b.k), steps = sizeof(T) == 2 ? (s1 - s0 + 1) / 2 * 2 : s1 - s0;
      if (scaled) {
        const int64_t tile = b.from / kPanel + p;
        for (int64_t s = s0; s < s1; s += kNf4Block) tile_scales(scales + s - s0, w, tile, s / kNf4Block, factor);
        if (!direct) forward_panel(panel, w, tile, s0, s1);
      } else if (w.tiled) {
        backward_panel(panel, w, p, b.from + s0, b.from + s1);
      } else {
        __builtin_memset(panel, 0, static_cast<size_t>(steps * kPanel) * sizeof(T));
        if (forward) {
          flat_panel(panel, w, true, b.from + column, b.from + column + columns, s0, s1);
        } else {
          flat_panel(panel, w, false, b.from + s0, b.from + s1, column, column + columns);
        }
      }
      // Meanwhile the next steps' tiles come in, a share with each group of rows.
      const int64_t next_p = s1 < b.k ? p : p + 1, next_s = s1 < b.k ? s1 : 0;
      const bool ahead = w.tiled && next_p < panels && (!direct || rows > kDirectRows);
      const int64_t lines = ahead ? (smaller(chunk, b.k - next_s) + kNf4Block - 1) / kNf4Block * kTileLines : 0;
      const int64_t groups = (rows + group_rows - 1) / group_rows;
      for (int64_t g = 0; g < groups; g++) {
        const int64_t t0 = g * rows / groups, t1 = (g + 1) * rows / groups;
        for (int64_t l = g * lines / groups; l < (g + 1) * lines / groups; l++)
          __builtin_prefetch(tile_words(next_p, next_s + l / kTileLines * kNf4Block) + l % kTileLines * 16, 0, 2);
        const int count = static_cast<int>(t1 - t0);
        const T *in = x.row<T>(begin + t0) + s0;
        float *sums = total + t0 * kPanel;
        if (direct) {
          rows_times_words(count, sums, in, x.row_stride(), tile_words(p, s0), scales, steps);
        } else {
          rows_times_panel(count, sums, in, x.row_stride(), panel, scaled ? scales : nullptr, steps);
        }
      }
    }
    for (int64_t t = 0; t < rows; t++)
      finish(y.row<Y>(begin + t) + column, total + t * kPanel, columns, bias ? bias + column : nullptr, accumulate);
  }
}

/// X in another dtype, or with a zero at the end of each row.
template <class To, class From>
View copied(CpuDevice &device, const View &x, int64_t cols) {
  const int64_t rows = x.rows();
  To *copy = device.scratch<To>(rows * cols);
#pragma omp parallel for schedule(static) num_threads(device.threads()) if (rows * cols > 8192)
  for (int64_t t = 0; t < rows; t++) {
    const From *in = x.row<From>(t);
    for (int64_t i = 0; i < x.cols(); i++) copy[t * cols + i] = from_f32<To>(to_f32(in[i]));
    for (int64_t i = x.cols(); i < cols; i++) copy[t * cols + i] = from_f32<To>(0);
  }
  return matrix(copy, sizeof(To) == 2 ? RL_BF16 : RL_F32, rows, cols, cols);
}

}  // namespace

void multiply_nf4(CpuDevice &device, const View &y, View x, Matrix b, const float *bias, bool accumulate) {
  const bool dot = b.dtype == RL_BF16 && has_dot_product();
  // Without the dot product bf16 is computed in f32, and codes are exact.
  if (b.dtype == RL_BF16 && !dot) x = copied<float, bf16>(device, x, b.k);
  if (dot && b.k % 2) x = copied<bf16, bf16>(device, x, b.k + 1);
  with_float(y.dtype, [&](auto type) {
    using Y = decltype(type);
#if defined(__AVX512BW__)
    if (dot) return product<bf16, Y>(device, y, x, b, bias, accumulate);
#endif
    product<float, Y>(device, y, x, b, bias, accumulate);
  });
}

void nf4_row(float *y, const Nf4Matrix &w, int64_t row) {
  if (!w.tiled) return stored_row(y, w, row);
  const int64_t blocks = w.k / kNf4Block;
  for (int64_t b = 0; b < blocks; b++, y += kNf4Block) {
    float scales[kPanel];
    tile_scales(scales, w, row / kPanel, b, 1);
    const uint32_t *tile = w.words() + (row / kPanel * blocks + b) * 8 * kPanel;
    for (int64_t c = 0; c < kNf4Block; c += kWidth)
      store(y + c, row_codes(tile, row % kPanel, c) * scales[row % kPanel]);
  }
}

}  // namespace rl::cpu::RL_ISA
