// sum[c] += sum over rows of something: pieces of kPieceRows rows side by side first, then the pieces in a fixed order
// (kernels/column_sums.cu). The cut depends on nothing but the shape, so bits do not vary.
// Traffic: what the something reads, and 1/32 of an f32 row for the pieces.
#pragma once

#include "cuda/elementwise.h"

namespace rl::cuda {

constexpr int64_t kPieceRows = 64;
constexpr int kColumnThreads = 128;
// Of the second kernel: a block adds up kSumColumns columns, in kSumParts parts.
constexpr int kSumColumns = 32, kSumParts = 8;

#if defined(RL_KERNELS)

/// For each of kSums sums, pieces[s,p,c] = sum over the rows t of piece p, in order, of what add(t, c, sums, width) adds to
/// sums[s][0 .. width). A thread for each run of N columns; `vectors`: whether what add reads can be read in runs.
template <int N, int kSums = 1, class Add>
DEVICE void sum_pieces(float *pieces, int64_t columns, int64_t rows, bool vectors, Add &&add) {
  const int64_t piece = blockIdx.x, begin = piece * kPieceRows, end = smaller(begin + kPieceRows, rows);
  const int64_t column = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * N;
  visit_run<N>(column, columns, vectors, [&](int64_t c, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float sums[kSums][kWidth] = {};
#pragma unroll 4
    for (int64_t t = begin; t < end; t++) add(t, c, sums, width);
#pragma unroll
    for (int s = 0; s < kSums; s++) {
#pragma unroll
      for (int i = 0; i < kWidth; i++) pieces[(s * gridDim.x + piece) * columns + c + i] = sums[s][i];
    }
  });
}

/// The pieces of the sum of x's rows.
template <class T>
DEVICE void sum_rows(float *pieces, const View &x) {
  constexpr int kRun = kRunOf<T>;
  sum_pieces<kRun>(pieces, x.cols(), x.rows(), takes_runs<kRun, T>(x),
                   [&](int64_t t, int64_t c, auto &sums, auto width) {
                     float v[decltype(width)::value];
                     read_run(v, x.row<T>(t) + c);
#pragma unroll
                     for (int i = 0; i < decltype(width)::value; i++) sums[0][i] += v[i];
                   });
}

#else

/// The two launches: first a kernel that calls sum_pieces, with grid() and pieces(), then add_to().
class ColumnSums {
 public:
  /// dtypes: of what the kernel reads in runs; sums: how many it makes.
  ColumnSums(CudaDevice &device, int64_t columns, int64_t rows, std::initializer_list<int32_t> dtypes, int64_t sums = 1)
      : device_(device),
        columns_(columns),
        count_(ceil_div(rows, kPieceRows)),
        run_(run_length(dtypes)),
        pieces_(device.scratch<float>(sums * columns * count_)) {}
  Grid grid() const { return {count_, ceil_div(ceil_div(columns_, run_), kColumnThreads), kColumnThreads}; }
  float *pieces() const { return pieces_; }
  /// sum (f32 [columns]) += the pieces of sum number `which`.
  void add_to(const View &sum, int64_t which = 0) const {
    device_.launch("add_pieces", Grid{ceil_div(columns_, kSumColumns), 1, kSumColumns * kSumParts}, sum,
                   static_cast<const float *>(pieces_ + which * columns_ * count_), count_);
  }

 private:
  CudaDevice &device_;
  int64_t columns_, count_, run_;
  float *pieces_;
};

#endif

}  // namespace rl::cuda
