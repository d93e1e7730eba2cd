// y = x W^T + bias  (= or +=);  gradX = gradY W  (= or +=);  gradW += gradY^T x, gradBias += sum over rows of gradY.
// x [T,K], W [N,K], y [T,N].  Products: tile_product.h.  gradBias: column_sums.h.
#include "cuda/op.h"
#if defined(RL_KERNELS)
#include "cuda/tile_product.h"
#else
#include "cuda/linear_few_rows.h"
#include "cuda/nf4_linear.h"
#endif
#include "cuda/column_sums.h"

namespace rl::cuda {

#if defined(RL_KERNELS)

/// c (=, or += with accumulate) a b + bias; a and b along the contraction or across it.
template <class Out, class T, bool kAAlong, bool kBAlong>
DEVICE void product(const View &c, const View &a, const View &b, const View &bias, bool accumulate) {
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * kTile;
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * kTile;
  const Operand<T> x{a.as<T>(), a.row_stride(), c.rows(), kAAlong ? a.cols() : a.rows()};
  const Operand<T> y{b.as<T>(), b.row_stride(), c.cols(), x.depth};
  const Accumulator<T> sum = tile_product<T, kAAlong, kBAlong>(x, y, first_row, first_column);
  sum.for_each([&](int i, int j, float value) {
    const int64_t row = first_row + i, column = first_column + j;
    if (row >= c.rows() || column >= c.cols()) return;
    if (bias) value += bias.f32()[column];
    Out *out = c.row<Out>(row) + column;
    *out = from_f32<Out>(accumulate ? to_f32(*out) + value : value);
  });
}

#define LINEAR(Out, T)                                                                                 \
  KERNEL(linear_##Out##_##T, kProductThreads, View y, View x, View w, View bias, int32_t accumulate) { \
    product<Out, T, true, true>(y, x, w, bias, accumulate);                                            \
  }                                                                                                    \
  KERNEL(linear_backward_input_##Out##_##T, kProductThreads, View gradX, View gradY, View w, View,     \
         int32_t accumulate) {                                                                         \
    product<Out, T, true, false>(gradX, gradY, w, View{}, accumulate);                                 \
  }
FOR_FLOATS_2(LINEAR)

#define LINEAR_BACKWARD_WEIGHT(T)                                                                                     \
  KERNEL(linear_backward_weight_f32_##T, kProductThreads, View gradW, View gradY, View x, View, int32_t) {            \
    product<float, T, false, false>(gradW, gradY, x, View{}, true);                                                   \
  }                                                                                                                   \
  KERNEL(linear_bias_pieces_##T, kColumnThreads, float *pieces, View gradY) {                                         \
    sum_pieces(pieces, gradY.cols(), gradY.rows(), [&](int64_t t, int64_t i) { return to_f32(gradY.row<T>(t)[i]); }); \
  }
FOR_FLOATS(LINEAR_BACKWARD_WEIGHT)

#else

namespace {

constexpr int64_t kTile = 64;
constexpr int kProductThreads = 128;

void launch_product(Device &device, const char *kernel, const View &c, const View &a, const View &b, const View &bias,
                    bool accumulate) {
  const Grid grid{ceil_div(c.cols(), kTile), ceil_div(c.rows(), kTile), kProductThreads};
  gpu(device).launch(kernel_name(kernel, {c.dtype, a.dtype}), grid, c, a, b, bias, static_cast<int32_t>(accumulate));
}

}  // namespace

void linear(Device &device, View y, View x, const Weight &weight, View bias, bool accumulate) {
  if (const Nf4Matrix *four = nf4_for_product(weight, x.rows(), kNf4ForwardRows)) {
    return nf4_linear(gpu(device), y, x, *four, bias, accumulate);
  }
  const View w = matrix_of(weight);
  if (takes_few_rows(x, w)) return linear_few_rows(gpu(device), y, x, w, bias, accumulate);
  launch_product(device, "linear", y, x, w, bias, accumulate);
}

void linear_backward_input(Device &device, View gradX, View gradY, const Weight &weight, bool accumulate) {
  if (const Nf4Matrix *four = nf4_for_product(weight, gradY.rows(), kNf4BackwardRows)) {
    return nf4_linear_backward_input(gpu(device), gradX, gradY, *four, accumulate);
  }
  launch_product(device, "linear_backward_input", gradX, gradY, matrix_of(weight), View{}, accumulate);
}

void linear_backward_weight(Device &device, View gradW, View gradBias, View gradY, View x) {
  launch_product(device, "linear_backward_weight", gradW, gradY, x, View{}, true);
  if (!gradBias) return;
  const ColumnSums sums(gpu(device), gradY.cols(), gradY.rows());
  gpu(device).launch(kernel_name("linear_bias_pieces", {gradY.dtype}), sums.grid(), sums.pieces(), gradY);
  sums.add_to(gradBias);
}

#endif

}  // namespace rl::cuda
