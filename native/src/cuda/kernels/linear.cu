// y = x W^T + bias  (= or +=);  gradX = gradY W  (= or +=);  gradW += gradY^T x, gradBias += sum over rows of gradY.
// x [T,K], W [N,K], y [T,N].  Products: matrix_product.h.  gradBias: column_sums.h.
#include "cuda/column_sums.h"
#include "cuda/matrix_product.h"
#if !defined(RL_KERNELS)
#include "cuda/linear_few_rows.h"
#include "cuda/nf4_linear.h"
#endif

namespace rl::cuda {

constexpr int kSumThreads = 128;

#if defined(RL_KERNELS)

/// a and b along the contraction or across it.
template <class Out, class T, class Tiles, bool kAAlong, bool kBAlong>
DEVICE void product(const View &c, const View &a, const View &b, const View &bias, bool accumulate,
                    const Parts &parts) {
  const Operand<T> x{a.as<T>(), a.row_stride(), c.rows(), kAAlong ? a.cols() : a.rows()};
  const Operand<T> y{b.as<T>(), b.row_stride(), c.cols(), x.depth};
  matrix_product<Out, T, Tiles, kAAlong, kBAlong>(c, x, y, bias, accumulate, parts);
}

#define PRODUCT(name, Out, T, Tiles, a_along, b_along)                                                              \
  KERNEL(name##_##Out##_##T, Tiles::kThreads, View c, View a, View b, View bias, int32_t accumulate, Parts parts) { \
    product<Out, T, Tiles, a_along, b_along>(c, a, b, bias, accumulate, parts);                                     \
  }
// By tensor cores: both sizes of tiles.
#define PRODUCTS(name, Out, T, a_along, b_along)      \
  PRODUCT(name, Out, T, SmallTiles, a_along, b_along) \
  PRODUCT(name##_large, Out, T, LargeTiles, a_along, b_along)
#define LINEAR(Out)                                                 \
  PRODUCT(linear, Out, f32, SmallTiles, true, true)                 \
  PRODUCTS(linear, Out, bf16, true, true)                           \
  PRODUCTS(linear, Out, tf32, true, true)                           \
  PRODUCT(linear_backward_input, Out, f32, SmallTiles, true, false) \
  PRODUCTS(linear_backward_input, Out, bf16, true, false)           \
  PRODUCTS(linear_backward_input, Out, tf32, true, false)
FOR_FLOATS(LINEAR)
PRODUCT(linear_backward_weight, f32, f32, SmallTiles, false, false)
PRODUCTS(linear_backward_weight, f32, bf16, false, false)
PRODUCTS(linear_backward_weight, f32, tf32, false, false)
KERNEL(sum_parts_f32, kSumThreads, View c, Parts parts) { sum_parts(c, parts); }

#define LINEAR_BIAS(T) \
  KERNEL(linear_bias_pieces_##T, kColumnThreads, float *pieces, View gradY) { sum_rows<T>(pieces, gradY); }
FOR_FLOATS(LINEAR_BIAS)

#else

void linear(Device &device, View y, View x, const Weight &weight, View bias, bool accumulate) {
  if (const Nf4Matrix *four = nf4_for_product(weight, x.rows(), kNf4ForwardRows)) {
    return nf4_linear(gpu(device), y, x, *four, bias, accumulate);
  }
  const View w = matrix_of(weight);
  if (takes_few_rows(x, w)) return linear_few_rows(gpu(device), y, x, w, bias, accumulate);
  launch_product(gpu(device), "linear", y, x, true, w, true, bias, accumulate);
}

void linear_backward_input(Device &device, View gradX, View gradY, const Weight &weight, bool accumulate) {
  if (const Nf4Matrix *four = nf4_for_product(weight, gradY.rows(), kNf4BackwardRows)) {
    return nf4_linear_backward_input(gpu(device), gradX, gradY, *four, accumulate);
  }
  const View w = matrix_of(weight);
  launch_product(gpu(device), "linear_backward_input", gradX, gradY, true, w, false, View{}, accumulate);
}

void linear_backward_weight(Device &device, View gradW, View gradBias, View gradY, View x) {
  launch_product(gpu(device), "linear_backward_weight", gradW, gradY, false, x, false, View{}, true);
  if (!gradBias) return;
  const ColumnSums sums(gpu(device), gradY.cols(), gradY.rows(), {gradY.dtype});
  gpu(device).launch(kernel_name("linear_bias_pieces", {gradY.dtype}), sums.grid(), sums.pieces(), gradY);
  sums.add_to(gradBias);
}

#endif

}  // namespace rl::cuda
