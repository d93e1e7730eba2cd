// sum[c] += sum over rows of something: pieces of kPieceRows rows side by side first, then the pieces in their order
// (kernels/column_sums.cu). The cut depends on nothing but the shape, so bits do not vary.
#pragma once

#include <cstdint>

#if defined(RL_KERNELS)
#include "cuda/device_code.h"
#else
#include "cuda/grids.h"
#endif

namespace rl::cuda {

constexpr int64_t kPieceRows = 64;
constexpr int kColumnThreads = 128;

#if defined(RL_KERNELS)

/// pieces[p,c] = sum of value(t, c) over the rows t of piece p, in order.
template <class Value>
DEVICE void sum_pieces(float *pieces, int64_t columns, int64_t rows, Value &&value) {
  const int64_t c = thread_of_grid();
  if (c >= columns) return;
  const int64_t begin = blockIdx.y * kPieceRows, end = smaller(begin + kPieceRows, rows);
  float sum = 0;
  for (int64_t t = begin; t < end; t++) sum += value(t, c);
  pieces[blockIdx.y * columns + c] = sum;
}

#else

/// The two launches: first a kernel that calls sum_pieces, with grid() and pieces(), then add_to().
class ColumnSums {
 public:
  ColumnSums(CudaDevice &device, int64_t columns, int64_t rows)
      : device_(device),
        columns_(columns),
        count_(ceil_div(rows, kPieceRows)),
        pieces_(device.scratch<float>(columns * count_)) {}
  Grid grid() const { return {ceil_div(columns_, kColumnThreads), count_, kColumnThreads}; }
  float *pieces() const { return pieces_; }
  /// sum (f32 [columns]) += the pieces.
  void add_to(const View &sum) const {
    device_.launch("add_pieces", by_element(columns_, kColumnThreads), sum, static_cast<const float *>(pieces_),
                   count_);
  }

 private:
  CudaDevice &device_;
  int64_t columns_, count_;
  float *pieces_;
};

#endif

}  // namespace rl::cuda
