// What the language-model heads share. Logits exist only as a tile of some tokens by some of the vocabulary, at most
// kLogits f32 numbers; softmax statistics of a row are carried from tile to tile.
#pragma once

#include <omp.h>

#include "cpu/kernels/multiply.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {

constexpr int64_t kLogits = int64_t{2} << 20;
/// Enough tokens that reading and writing gradW once per tile hides behind the arithmetic.
constexpr int64_t kHeadRows = kLogits / kBackwardRows;

constexpr int32_t kIgnore = -100;

/// One row so far: its largest logit m, sum e^(z-m), sum of something times e^(z-m).
struct RowSums {
  double sum;
  double weighted;
  float max;
  float target;  // the target's logit
};

RL_INLINE void store(float &y, float x) { y = x; }
RL_INLINE void store(bf16 &y, float x) { y = from_f32<bf16>(x); }

RL_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

inline void check_targets(const View &targets, int64_t vocabulary, bool may_ignore) {
  const int32_t *ids = targets.i32();
  for (int64_t t = 0; t < targets.rows(); t++) {
    if ((ids[t] >= 0 && ids[t] < vocabulary) || (may_ignore && ids[t] == kIgnore)) continue;
    fail(RL_INVALID_ARGUMENT, "targets[%lld] is %d, expected 0 to %lld%s", static_cast<long long>(t), ids[t],
         static_cast<long long>(vocabulary - 1), may_ignore ? " or -100" : "");
  }
}

RL_INLINE float largest(const float *z, int64_t n) {
  float m = z[0];
#pragma omp simd reduction(max : m)
  for (int64_t i = 0; i < n; i++) m = z[i] > m ? z[i] : m;
  return m;
}

/// Moves a row's sums to a new maximum; `weighted` is of (z - max) where `relative`.
RL_INLINE void rescale(RowSums &row, float max, bool relative) {
  const double shift = static_cast<double>(row.max) - static_cast<double>(max);
  const double factor = __builtin_exp(shift);
  row.weighted = factor * (relative ? row.weighted + shift * row.sum : row.weighted);
  row.sum *= factor;
  row.max = max;
}

/// Adds n logits z * scale to a row: weighted is sum (z - max) e^(z - max), from which the entropy follows.
RL_INLINE void add_logits(RowSums &row, const float *z, int64_t n, float scale, bool first) {
  const float tile = largest(z, n) * scale;
  if (first) {
    row = {0, 0, tile, 0};
  } else if (tile > row.max) {
    rescale(row, tile, true);
  }
  const float max = row.max;
  float sum = 0, weighted = 0;
#pragma omp simd reduction(+ : sum, weighted)
  for (int64_t i = 0; i < n; i++) {
    const float d = z[i] * scale - max;
    const float e = exp_f32(d);
    sum += e;
    weighted += d * e;
  }
  row.sum += static_cast<double>(sum);
  row.weighted += static_cast<double>(weighted);
}

RL_INLINE double log_sum_exp(const RowSums &row) { return static_cast<double>(row.max) + __builtin_log(row.sum); }

/// z[rows, to - from] = x W[from:to]^T in f32.
inline void make_logits(CpuDevice &device, float *z, const View &x, const CpuWeight &w, int64_t from, int64_t to) {
  multiply(device, matrix(z, RL_F32, x.rows(), to - from, to - from), x, w.forward(from, to), nullptr, false);
}

/// Rows of each tile when there are at most `most` in one: all about the same, since each tile reads the whole of W.
RL_INLINE int64_t even_tiles(int64_t rows, int64_t most) {
  const int64_t tiles = (rows + most - 1) / most;
  return (rows + tiles - 1) / tiles;
}

/// Columns of a tile with so many rows: whole pieces of the vocabulary within kLogits.
RL_INLINE int64_t tile_columns(int64_t rows, int64_t vocabulary) {
  const int64_t fit = kLogits / rows / kBackwardRows * kBackwardRows;
  return smaller(vocabulary, fit > kBackwardRows ? fit : kBackwardRows);
}

/// lse, the target's log-probability (0 where the target is ignored) and, if wanted, the entropy of each row.
inline void softmax_rows(CpuDevice &device, float *logp, float *entropy, float *lse, const View &x, const CpuWeight &w,
                         const int32_t *targets, float scale) {
  const int64_t rows = x.rows(), tile_rows = even_tiles(rows, kHeadRows), columns = tile_columns(tile_rows, w.n);
  float *z = device.scratch<float>(tile_rows * columns);
  RowSums *sums = device.scratch<RowSums>(tile_rows);
  for (int64_t t0 = 0; t0 < rows; t0 += tile_rows) {
    const int64_t count = smaller(tile_rows, rows - t0);
    const View part = rows_of(x, t0, t0 + count);
    for (int64_t v0 = 0; v0 < w.n; v0 += columns) {
      const int64_t v1 = smaller(v0 + columns, w.n), n = v1 - v0;
      make_logits(device, z, part, w, v0, v1);
#pragma omp parallel for schedule(static) num_threads(device.threads()) if (count * n > 16384)
      for (int64_t r = 0; r < count; r++) {
        const float kept = v0 ? sums[r].target : 0;
        add_logits(sums[r], z + r * n, n, scale, v0 == 0);
        const int32_t target = targets[t0 + r];
        sums[r].target = target >= v0 && target < v1 ? z[r * n + target - v0] * scale : kept;
      }
    }
    for (int64_t r = 0; r < count; r++) {
      const double total = log_sum_exp(sums[r]);
      lse[t0 + r] = static_cast<float>(total);
      logp[t0 + r] = targets[t0 + r] < 0 ? 0 : static_cast<float>(static_cast<double>(sums[r].target) - total);
      if (entropy) entropy[t0 + r] = static_cast<float>(__builtin_log(sums[r].sum) - sums[r].weighted / sums[r].sum);
    }
  }
}

/// bf16 rows from f32 sums.
inline void store_bf16(CpuDevice &device, const View &y, const float *sum) {
  const int64_t rows = y.rows(), cols = y.cols();
#pragma omp parallel for schedule(static) num_threads(device.threads()) if (rows * cols > 8192)
  for (int64_t t = 0; t < rows; t++) {
    bf16 *out = y.row<bf16>(t);
    RL_SIMD
    for (int64_t i = 0; i < cols; i++) out[i] = from_f32<bf16>(sum[t * cols + i]);
  }
}

/// gradX = dz W, gradW += dz^T x, tile by tile; either may be absent. gradient(t, v0, n, z, zRef, dz) turns one row's
/// logits (before the temperature) into dz, of W's dtype. xRef and wRef: a second set of logits, or null.
template <class Gradient>
RL_INLINE void head_backward(CpuDevice &device, const View &gradX, const View &gradW, const View &x, const CpuWeight &w,
                             const View &xRef, const CpuWeight *wRef, Gradient &&gradient) {
  if (!gradX && !gradW) return;
  const int64_t rows = x.rows(), tile_rows = even_tiles(rows, wRef ? kHeadRows / 2 : kHeadRows);
  const int64_t columns = smaller(w.n, kBackwardRows);
  float *z = device.scratch<float>(tile_rows * columns);
  float *zRef = wRef ? device.scratch<float>(tile_rows * columns) : nullptr;
  with_float(w.dtype, [&](auto type) {
    using D = decltype(type);
    D *dz = device.scratch<D>(tile_rows * columns);
    float *sum = gradX && gradX.dtype == RL_BF16 ? device.scratch<float>(tile_rows * w.k) : nullptr;
    for (int64_t t0 = 0; t0 < rows; t0 += tile_rows) {
      const int64_t count = smaller(tile_rows, rows - t0);
      const View part = rows_of(x, t0, t0 + count);
      const View gx = !gradX ? gradX : sum ? matrix(sum, RL_F32, count, w.k, w.k) : rows_of(gradX, t0, t0 + count);
      for (int64_t v0 = 0; v0 < w.n; v0 += columns) {
        const int64_t v1 = smaller(v0 + columns, w.n), n = v1 - v0;
        make_logits(device, z, part, w, v0, v1);
        if (wRef) make_logits(device, zRef, rows_of(xRef, t0, t0 + count), *wRef, v0, v1);
#pragma omp parallel for schedule(static) num_threads(device.threads()) if (count * n > 16384)
        for (int64_t r = 0; r < count; r++)
          gradient(t0 + r, v0, n, z + r * n, zRef ? zRef + r * n : nullptr, dz + r * n);
        const View d = matrix(dz, w.dtype, count, n, n);
        if (gx) multiply(device, gx, d, w.backward(v0, v1), nullptr, v0 > 0);
        if (gradW) multiply_transposed(device, rows_of(gradW, v0, v1), d, part);
      }
      if (sum) store_bf16(device, rows_of(gradX, t0, t0 + count), sum);
    }
  });
}

}  // namespace rl::cpu::RL_ISA
