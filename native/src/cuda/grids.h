// How launchers cut tensors into blocks.
#pragma once

#include "cuda/cuda_device.h"

namespace rl::cuda {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/// A block for each row.
inline Grid by_row(int64_t rows, int threads) { return {rows, 1, threads}; }

/// A thread for each element.
inline Grid by_element(int64_t elements, int threads) { return {ceil_div(elements, threads), 1, threads}; }

/// Tensors of one shape that are all dense, as one long row each, so that short rows fill blocks too.
template <class... Views>
void flatten_if_dense(View &first, Views &...others) {
  auto dense = [](const View &v) { return v.rows() <= 1 || v.row_stride() == v.cols(); };
  if (!(dense(first) && (dense(others) && ...))) return;
  auto flatten = [](View &v) {
    const int64_t n = v.elements();
    v.shape[0] = 1;
    v.shape[1] = n;
    v.shape[2] = v.shape[3] = 1;
    v.stride[0] = n;
  };
  flatten(first);
  (flatten(others), ...);
}

}  // namespace rl::cuda
