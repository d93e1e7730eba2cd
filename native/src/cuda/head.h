// What the language-model heads share. Logits exist only as tiles in registers: each is reduced to a few numbers a row
// (forward), or turned into a tile of dz that goes to a piece of scratch of bounded size (backward).
//
// Rows go in groups of kHeadRows: a group of x stays in the L2 cache while W passes by once (blocks that run together share a
// tile of W), so W is read from memory T / kHeadRows times for each product with it, and scratch does not grow with T.
#pragma once

#include "cuda/op.h"
#if defined(RL_KERNELS)
#include "cuda/tile_product.h"
#endif

namespace rl::cuda {

/// A tile of logits of one row: the largest m, the sum of e^(z - m), and the sum of something times e^(z - m).
struct HeadPart {
  float top, sum, weighted;
};

#if defined(RL_KERNELS)

/// Where this block's tile of logits lies: rows along x, so that neighbouring blocks share W; the vocabulary along y.
struct HeadTile {
  int64_t row, column;    // the first ones
  int64_t rows, columns;  // how many there are from there on
  DEVICE_MEMBER HeadTile(const View &x, const View &w)
      : row(static_cast<int64_t>(blockIdx.x) * kTile),
        column(static_cast<int64_t>(blockIdx.y) * kTile),
        rows(x.rows() - row),
        columns(w.rows() - column) {}
};

/// Bytes of shared memory that logits() wants.
template <class T>
constexpr int kLogitsShared = ProductBuffers<T, true, true>::kSize * static_cast<int>(sizeof(T));

/// scale x W^T for a tile. `shared`: kLogitsShared<T> bytes, free again at the end.
template <class T>
DEVICE Accumulator<T> logits(const HeadTile &tile, const View &x, const View &w, float scale, void *shared) {
  const Operand<T> a{x.as<T>(), x.row_stride(), x.rows(), x.cols()};
  const Operand<T> b{w.as<T>(), w.row_stride(), w.rows(), w.cols()};
  Accumulator<T> z = tile_product<T, true, true>(a, b, tile.row, tile.column, static_cast<T *>(shared));
#pragma unroll
  for (int i = 0; i < Accumulator<T>::kHeldRows; i++) {
#pragma unroll
    for (int j = 0; j < Accumulator<T>::kHeldColumns; j++) z.at(i, j) *= scale;
  }
  return z;
}

/// One number for each row of a tile, from each of the groups of warps that have a part of its columns.
template <class A>
using RowParts = float[kTile][A::kRowParts];

/// values[i] is what this thread has of its row i; afterwards what all of the row have, folded in an order that depends on the
/// tile alone. By the whole block; `shared` is in use until the next barrier.
template <class A, class Fold>
DEVICE void fold_rows(float (&values)[A::kHeldRows], RowParts<A> &shared, Fold &&fold) {
#pragma unroll
  for (int i = 0; i < A::kHeldRows; i++) {
#pragma unroll
    for (int step = A::kRowLanes / 2; step > 0; step /= 2) {
      values[i] = fold(values[i], __shfl_xor_sync(kFullWarp, values[i], step));
    }
    if (lane() % A::kRowLanes == 0) shared[A::row(i)][A::row_part()] = values[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < A::kHeldRows; i++) {
    values[i] = shared[A::row(i)][0];
    for (int p = 1; p < A::kRowParts; p++) values[i] = fold(values[i], shared[A::row(i)][p]);
  }
}

/// parts[row] of a tile, with weight(i, j, z - top) times e^(z - top) summed for its thread's element (i, j).
template <class A, class Weight>
DEVICE void reduce_logits(const HeadTile &tile, A &z, HeadPart *parts, int64_t stride, Weight &&weight) {
  SHARED(float, tops, [kTile][A::kRowParts]);
  SHARED(float, sums, [kTile][A::kRowParts]);
  SHARED(float, weights, [kTile][A::kRowParts]);
  float top[A::kHeldRows], sum[A::kHeldRows] = {}, weighted[A::kHeldRows] = {};
#pragma unroll
  for (int i = 0; i < A::kHeldRows; i++) {
    top[i] = -INFINITY;
#pragma unroll
    for (int j = 0; j < A::kHeldColumns; j++) {
      if (A::column(j) < tile.columns) top[i] = fmaxf(top[i], z.at(i, j));
    }
  }
  fold_rows<A>(top, tops, [](float a, float b) { return fmaxf(a, b); });
#pragma unroll
  for (int i = 0; i < A::kHeldRows; i++) {
#pragma unroll
    for (int j = 0; j < A::kHeldColumns; j++) {
      if (A::column(j) >= tile.columns) continue;
      const float distance = z.at(i, j) - top[i], e = expf(distance);
      sum[i] += e;
      weighted[i] += e * weight(i, j, distance);
    }
  }
  auto add = [](float a, float b) { return a + b; };
  fold_rows<A>(sum, sums, add);
  fold_rows<A>(weighted, weights, add);
  if (lane() % A::kRowLanes != 0 || A::row_part() != 0) return;
#pragma unroll
  for (int i = 0; i < A::kHeldRows; i++) {
    if (A::row(i) < tile.rows) parts[(tile.row + A::row(i)) * stride + blockIdx.y] = {top[i], sum[i], weighted[i]};
  }
}

/// One row of the whole vocabulary.
struct HeadRow {
  double lse;       // log sum e^z
  double mean_log;  // sum p (z - lse), where the parts' weight is z - top
  double mean;      // sum p weight, where it is no distance from the top
};

/// Merges a row's parts in an order that depends on their number alone; by one warp, every lane gets the result.
DEVICE HeadRow merge_parts(const HeadPart *parts, int64_t count) {
  float top = -INFINITY;
  for (int64_t p = lane(); p < count; p += 32) top = fmaxf(top, parts[p].top);
  for (int step = 16; step > 0; step /= 2) top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, step));
  double sum = 0, distance = 0, weighted = 0;
  for (int64_t p = lane(); p < count; p += 32) {
    const HeadPart part = parts[p];
    const double shift = static_cast<double>(part.top) - static_cast<double>(top);
    const double factor = static_cast<double>(expf(part.top - top)), s = static_cast<double>(part.sum) * factor;
    sum += s;
    distance += shift * s;
    weighted += static_cast<double>(part.weighted) * factor;
  }
  for (int step = 16; step > 0; step /= 2) {
    sum += __shfl_xor_sync(kFullWarp, sum, step);
    distance += __shfl_xor_sync(kFullWarp, distance, step);
    weighted += __shfl_xor_sync(kFullWarp, weighted, step);
  }
  const double spread = log(sum);
  return {static_cast<double>(top) + spread, (weighted + distance) / sum - spread, weighted / sum};
}

/// Writes what gradient(row, column, z) says for a tile of logits.
template <class T, class Gradient>
DEVICE void store_gradients(const HeadTile &tile, const View &dz, Gradient &&gradient) {
  using A = Accumulator<T>;
#pragma unroll
  for (int i = 0; i < A::kHeldRows; i++) {
    if (A::row(i) >= tile.rows) continue;
    auto of_row = gradient(i, tile.row + A::row(i));
    T *out = dz.row<T>(tile.row + A::row(i)) + tile.column;
#pragma unroll
    for (int j = 0; j < A::kHeldColumns; j++) {
      if (A::column(j) < tile.columns) out[A::column(j)] = from_f32<T>(of_row(j));
    }
  }
}

#else

/// Rows of a group.
constexpr int64_t kHeadRows = 2048;
/// Elements of dz at a time: 16 MiB of bf16, which the L2 cache keeps from its making to its use.
constexpr int64_t kHeadGradients = int64_t{8} << 20;
constexpr int64_t kHeadTile = 64;
constexpr int kHeadThreads = 128, kMergeThreads = 128;

/// Rows `from` to `to` of a tensor.
inline View rows_of(View x, int64_t from, int64_t to) {
  if (!x) return x;
  x.data = static_cast<char *>(x.data) + from * x.stride[0] * dtype_size(x.dtype);
  x.shape[0] = to - from;
  return x;
}

/// A dense [rows,cols] matrix in memory of our own.
inline View matrix(void *data, int32_t dtype, int64_t rows, int64_t cols) {
  View v;
  v.data = data;
  v.dtype = dtype;
  v.rank = 2;
  v.shape[0] = rows;
  v.shape[1] = cols;
  v.stride[0] = cols;
  return v;
}

/// Rows of each group: all about the same, in whole tiles.
inline int64_t group_rows(int64_t rows) {
  const int64_t groups = ceil_div(rows, kHeadRows);
  return smaller(rows, ceil_div(ceil_div(rows, groups), kHeadTile) * kHeadTile);
}

inline int64_t vocabulary_tiles(int64_t vocabulary) { return ceil_div(vocabulary, kHeadTile); }

/// A block for each tile of rows by vocabulary.
inline Grid by_head_tile(int64_t rows, int64_t vocabulary) {
  return {ceil_div(rows, kHeadTile), vocabulary_tiles(vocabulary), kHeadThreads};
}
/// A warp for each row.
inline Grid by_merged_row(int64_t rows) { return {ceil_div(rows, kMergeThreads / 32), 1, kMergeThreads}; }

/// Calls group(from, to) for every group of rows.
template <class Group>
void for_row_groups(int64_t rows, Group &&group) {
  const int64_t step = group_rows(rows);
  for (int64_t t = 0; t < rows; t += step) group(t, smaller(t + step, rows));
}

/// logp (0 where the target is none of the vocabulary), lse and, if given, the entropy of each row, f32 [T].
void softmax_rows(CudaDevice &device, const View &logp, const View &entropy, const View &lse, const View &x,
                  const Weight &weight, const View &targets, float scale);

/// dz of head_logprob for gradLogp f32 [T] and, if given, gradEntropy f32 [T]; then head_gradients.
void softmax_backward(CudaDevice &device, const View &gradX, const View &gradW, const View &gradLogp,
                      const View &gradEntropy, const View &x, const Weight &weight, const View &targets,
                      const View &lse, const View &entropy, float scale);

/// gradX = dz W, gradW += dz^T x, either may be absent. make(dz, t0, t1, v0, v1) queues the kernel that writes dz of those rows
/// and that part of the vocabulary. Sums over the vocabulary are f32, part after part.
template <class Make>
void head_gradients(CudaDevice &device, const View &gradX, const View &gradW, const View &x, const Weight &weight,
                    Make &&make) {
  if (!gradX && !gradW) return;
  const View w = matrix_of(weight);
  const int64_t group = group_rows(x.rows());
  const int64_t stride = smaller(vocabulary_tiles(w.rows()), kHeadGradients / group / kHeadTile) * kHeadTile;
  const int64_t columns = smaller(w.rows(), stride);
  void *memory = device.scratch<char>(group * stride * dtype_size(w.dtype));
  const bool in_place = columns == w.rows() || gradX.dtype == RL_F32;
  float *sums = gradX && !in_place ? device.scratch<float>(group * w.cols()) : nullptr;
  for_row_groups(x.rows(), [&](int64_t t0, int64_t t1) {
    const View part = rows_of(x, t0, t1), gx = rows_of(gradX, t0, t1);
    const View sum = sums ? matrix(sums, RL_F32, t1 - t0, w.cols()) : gx;
    for (int64_t v0 = 0; v0 < w.rows(); v0 += columns) {
      const int64_t v1 = smaller(v0 + columns, w.rows());
      View dz = matrix(memory, w.dtype, t1 - t0, v1 - v0);
      dz.stride[0] = stride;  // whole tiles, so that vectors are aligned
      make(dz, t0, t1, v0, v1);
      if (gradX) linear_backward_input(device, sum, dz, CudaWeight(device, rows_of(w, v0, v1), false), v0 > 0);
      if (gradW) linear_backward_weight(device, rows_of(gradW, v0, v1), View(), dz, part);
    }
    if (sums) copy(device, gx, sum);
  });
}

#endif

}  // namespace rl::cuda
