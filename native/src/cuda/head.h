// What the language-model heads share. Logits exist only as tiles in registers: each is reduced to a few numbers a row
// (forward), or turned into a tile of dz that goes to a piece of scratch of bounded size (backward).
//
// Rows go in groups of kHeadRows, so that scratch does not grow with T. Neighbouring blocks share a tile of W, and a group of x
// stays in the L2 cache while W passes by once. Bytes of memory for each product's 2 T V H operations, bf16:
//   W        2 V H T / 2048: 1/2048 byte an operation; an H100 has 1/300 at full speed
//   forward  12 T V / 128 written and read (KL: twice that), in place of the logits' 4 T V
//   dz       2 T V written and read, which a cache of 40 MiB keeps: a piece is 2048 rows by 4096 words
//   gradX    f32 sums read and written once for each piece: 8 T H V / 4096
//   gradW    read and written once for each group: 8 V H T / 2048
#pragma once

#include "cuda/head_tile.h"

namespace rl::cuda {

constexpr int kMergeThreads = 128;

#if !defined(RL_KERNELS)

/// Rows of a group.
constexpr int64_t kHeadRows = 2048;
/// Elements of dz at a time: 16 MiB of bf16, which the L2 cache keeps from its making to its use.
constexpr int64_t kHeadGradients = int64_t{8} << 20;

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
  return smaller(rows, ceil_div(ceil_div(rows, groups), LogitTiles::kRows) * LogitTiles::kRows);
}

/// How logits are cut, where x and W (of the reference, too) are of these dtypes: as HeadTiles says.
struct HeadCut {
  int64_t rows, columns;
  int threads;
  int64_t shared;

  explicit HeadCut(int32_t dtype) : HeadCut(dtype == RL_BF16 ? of<LogitTiles>() : of<SmallTiles>()) {}
  HeadCut(int32_t dtype, int32_t dtypeRef)
      : HeadCut(dtype == RL_BF16 && dtypeRef == RL_BF16 ? of<LogitPairTiles>() : of<SmallTiles>()) {}
  int64_t tiles(int64_t vocabulary) const { return ceil_div(vocabulary, columns); }
  /// A block for each tile.
  Grid grid(int64_t count, int64_t vocabulary) const {
    return {ceil_div(count, rows), tiles(vocabulary), threads, shared};
  }

 private:
  HeadCut(int64_t rows, int64_t columns, int threads, int64_t shared)
      : rows(rows), columns(columns), threads(threads), shared(shared) {}
  template <class Tiles>
  static HeadCut of() {
    return {Tiles::kRows, Tiles::kColumns, Tiles::kThreads, kHeadShared<Tiles>};
  }
};

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

/// How rows and the vocabulary are cut for the gradients: a piece of dz is a group of rows by `columns` of the vocabulary.
struct HeadPieces {
  int64_t rows;
  int64_t columns;
  int64_t stride;  // of dz: whole tiles, so that vectors are aligned

  HeadPieces(int64_t count, int64_t vocabulary) : rows(group_rows(count)) {
    constexpr int64_t kWhole = LogitTiles::kColumns;
    stride = smaller(ceil_div(vocabulary, kWhole), kHeadGradients / rows / kWhole) * kWhole;
    columns = smaller(vocabulary, stride);
  }
  View scratch(CudaDevice &device, int32_t dtype) const {
    View dz = matrix(device.scratch<char>(rows * stride * dtype_size(dtype)), dtype, rows, columns);
    dz.stride[0] = stride;
    return dz;
  }
};

/// gradX = dz W, gradW += dz^T x, either may be absent. make(dz, t0, t1, v0, v1) queues the kernel that writes dz of those rows
/// and that part of the vocabulary. Sums over the vocabulary are f32, part after part.
template <class Make>
void head_gradients(CudaDevice &device, const View &gradX, const View &gradW, const View &x, const Weight &weight,
                    Make &&make) {
  if (!gradX && !gradW) return;
  const View w = matrix_of(weight);
  const HeadPieces pieces(x.rows(), w.rows());
  View dz = pieces.scratch(device, w.dtype);
  const bool direct = pieces.columns == w.rows() || gradX.dtype == RL_F32;
  float *sums = gradX && !direct ? device.scratch<float>(pieces.rows * w.cols()) : nullptr;
  for_row_groups(x.rows(), [&](int64_t t0, int64_t t1) {
    const View part = rows_of(x, t0, t1), gx = rows_of(gradX, t0, t1);
    const View sum = sums ? matrix(sums, RL_F32, t1 - t0, w.cols()) : gx;
    for (int64_t v0 = 0; v0 < w.rows(); v0 += pieces.columns) {
      const int64_t v1 = smaller(v0 + pieces.columns, w.rows());
      dz.shape[0] = t1 - t0;
      dz.shape[1] = v1 - v0;
      make(dz, t0, t1, v0, v1);
      if (gradX) linear_backward_input(device, sum, dz, CudaWeight(device, rows_of(w, v0, v1), false), v0 > 0);
      if (gradW) linear_backward_weight(device, rows_of(gradW, v0, v1), View(), dz, part);
    }
    if (sums) copy(device, gx, sum);
  });
}

#endif

}  // namespace rl::cuda
