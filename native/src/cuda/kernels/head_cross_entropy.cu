// loss[0] = -sum_t log softmax(x W^T)[t, targets[t]] over targets != -100, loss[1] = their number  (=).
// dz = gradScale (p - 1[v = target]), 0 where ignored;  gradX = dz W  (=);  gradW += dz^T x.
//
// gradX alone makes the logits once, as attention does (Dao et al. 2022) with W for keys and values:
// gradX = gradScale (sum_v e^(z_v - m) W_v / sum_v e^(z_v - m) - W_target), m the largest logit so far. The vocabulary passes
// in pieces; where a row's m grows, what was summed before is scaled down, which seldom happens after the first piece. Two
// products instead of three; beside their traffic e^(z - m) is written and read once in W's dtype, through the L2 cache.
// Any other case: the forward of head_logprob, then its backward with gradLogp = -gradScale or 0.
#include "cuda/head.h"
#if !defined(RL_KERNELS)
#include "cuda/indices.h"
#endif

namespace rl::cuda {

constexpr int kLossThreads = 1024, kRowThreads = 128;

/// What is known of a group's rows so far: the largest logit, sum e^(z - top), the target's logit.
struct HeadSums {
  float *tops;
  double *sums;
  float *chosen;
};

#if defined(RL_KERNELS)

/// e = e^(z - m) for a piece of the vocabulary that begins with `first`, m the largest of the tile and of what came before.
/// parts [T, tiles of the piece].
template <class T>
DEVICE void exponentials(const View &e, const View &x, const View &w, const View &targets, HeadPart *parts,
                         const HeadSums &rows, int64_t first) {
  using A = Accumulator<T, HeadTiles<T>>;
  SHARED_DYNAMIC(shared);
  const HeadTile<HeadTiles<T>> tile(x, w, shared);
  A z = logits<T>(tile, x, w, 1.0f);
  pick_targets(tile, z, targets, first, rows.chosen);
  float top[A::kHeldRows], sum[A::kHeldRows] = {};
  largest_logits(tile, z, top);
#pragma unroll
  for (int i = 0; i < A::kHeldRows; i++) {
    if (first > 0 && A::row(i) < tile.rows) top[i] = fmaxf(top[i], rows.tops[tile.row + A::row(i)]);
#pragma unroll
    for (int j = 0; j < A::kHeldColumns; j++) {
      z.at(i, j) = A::column(j) < tile.columns ? __expf(z.at(i, j) - top[i]) : 0.0f;
      sum[i] += z.at(i, j);
    }
  }
  add_columns<A>(tile, sum, 1);
  store_parts<A>(tile, parts, top, sum, sum);
  __syncthreads();
  store_tile(tile, z, e);
}

/// Brings a piece's tiles, and what was summed before, to the same m. A block for each row.
template <class T>
DEVICE void settle_row(const View &e, const View &sums, const HeadPart *parts, const HeadSums &rows, int64_t tiles,
                       bool first) {
  const int64_t row = blockIdx.x;
  parts += row * tiles;
  const float before = first ? -INFINITY : rows.tops[row];
  float top = before;  // every warp finds it for itself
  for (int64_t p = lane(); p < tiles; p += 32) top = fmaxf(top, load_part(parts + p).top);
  for (int step = 16; step > 0; step /= 2) top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, step));
  double sum = 0;
  for (int64_t p = lane(); p < tiles; p += 32) {
    const HeadPart part = load_part(parts + p);
    sum += static_cast<double>(part.sum) * static_cast<double>(expf(part.top - top));
  }
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(kFullWarp, sum, step);

  for (int64_t p = warp(); p < tiles; p += kRowThreads / 32) {
    if (parts[p].top == top) continue;
    const float factor = expf(parts[p].top - top);
    T *piece = e.row<T>(row) + p * HeadTiles<T>::kColumns;
    for (int c = lane(); c < HeadTiles<T>::kColumns; c += 32) piece[c] = from_f32<T>(to_f32(piece[c]) * factor);
  }
  const float decay = first ? 0.0f : expf(before - top);
  if (!first && before != top) {
    for (int64_t i = threadIdx.x; i < sums.cols(); i += kRowThreads) sums.row<float>(row)[i] *= decay;
  }
  __syncthreads();  // tops[row] is read
  if (threadIdx.x != 0) return;
  rows.tops[row] = top;
  rows.sums[row] = sum + (first ? 0.0 : rows.sums[row] * static_cast<double>(decay));
}

/// gradX and logp of a row from its sums. A block for each row; gradX may be `sums`.
template <class GX, class W>
DEVICE void finish_row(const View &gradX, const View &logp, const View &sums, const View &w, const View &targets,
                       const HeadSums &rows, float gradScale) {
  const int64_t row = blockIdx.x, target = index_at(targets.i32(), row, w.rows());
  const float scale = static_cast<float>(static_cast<double>(gradScale) / rows.sums[row]);
  for (int64_t i = threadIdx.x; i < gradX.cols(); i += kRowThreads) {
    float g = 0.0f;
    if (target >= 0) g = scale * sums.row<float>(row)[i] - gradScale * to_f32(w.row<W>(target)[i]);
    gradX.row<GX>(row)[i] = from_f32<GX>(g);
  }
  if (threadIdx.x != 0) return;
  const double lse = static_cast<double>(rows.tops[row]) + log(rows.sums[row]);
  logp.f32()[row] = target < 0 ? 0.0f : static_cast<float>(static_cast<double>(rows.chosen[row]) - lse);
}

#define HEAD_CROSS_ENTROPY(T)                                                                                         \
  KERNEL(head_cross_entropy_tiles_##T, HeadTiles<T>::kThreads, View e, View x, View w, View targets, HeadPart *parts, \
         HeadSums rows, int64_t first) {                                                                              \
    exponentials<T>(e, x, w, targets, parts, rows, first);                                                            \
  }                                                                                                                   \
  KERNEL(head_cross_entropy_settle_##T, kRowThreads, View e, View sums, const HeadPart *parts, HeadSums rows,         \
         int64_t tiles, int32_t first) {                                                                              \
    settle_row<T>(e, sums, parts, rows, tiles, first);                                                                \
  }
FOR_FLOATS(HEAD_CROSS_ENTROPY)

#define HEAD_CROSS_ENTROPY_FINISH(GX, W)                                                                            \
  KERNEL(head_cross_entropy_finish_##GX##_##W, kRowThreads, View gradX, View logp, View sums, View w, View targets, \
         HeadSums rows, float gradScale) {                                                                          \
    finish_row<GX, W>(gradX, logp, sums, w, targets, rows, gradScale);                                              \
  }
FOR_FLOATS_2(HEAD_CROSS_ENTROPY_FINISH)

/// One block: loss and, if wanted, gradLogp [T] from logp [T].
KERNEL(head_cross_entropy_loss, kLossThreads, View loss, View gradLogp, View logp, View targets, int64_t vocabulary,
       float gradScale) {
  double sum = 0, number = 0;
  for (int64_t t = threadIdx.x; t < logp.rows(); t += kLossThreads) {
    const bool valid = index_at(targets.i32(), t, vocabulary) >= 0;
    if (gradLogp) gradLogp.f32()[t] = valid ? -gradScale : 0.0f;
    sum -= static_cast<double>(logp.f32()[t]);  // 0 where there is no target
    number += valid;
  }
  sum = block_sum(sum);
  number = block_sum(number);
  if (threadIdx.x != 0) return;
  loss.f32()[0] = static_cast<float>(sum);
  loss.f32()[1] = static_cast<float>(number);
}

#else

namespace {

View row_values(CudaDevice &device, int64_t rows) { return matrix(device.scratch<float>(rows), RL_F32, rows, 1); }

/// logp and gradX, the logits made once.
void in_one_sweep(CudaDevice &device, const View &logp, const View &gradX, const View &x, const Weight &weight,
                  const View &targets, float gradScale) {
  const View w = matrix_of(weight);
  const HeadPieces pieces(x.rows(), w.rows());
  const HeadCut cut(w.dtype);
  View e = pieces.scratch(device, w.dtype);
  float *sums = gradX.dtype == RL_F32 ? nullptr : device.scratch<float>(pieces.rows * w.cols());
  HeadPart *parts = device.scratch<HeadPart>(pieces.rows * cut.tiles(pieces.columns));
  const HeadSums rows{device.scratch<float>(pieces.rows), device.scratch<double>(pieces.rows),
                      device.scratch<float>(pieces.rows)};
  for_row_groups(x.rows(), [&](int64_t t0, int64_t t1) {
    const View part = rows_of(x, t0, t1), gx = rows_of(gradX, t0, t1), ids = rows_of(targets, t0, t1);
    const View sum = sums ? matrix(sums, RL_F32, t1 - t0, w.cols()) : gx;
    for (int64_t v0 = 0; v0 < w.rows(); v0 += pieces.columns) {
      const int64_t v1 = smaller(v0 + pieces.columns, w.rows());
      const View words = rows_of(w, v0, v1);
      e.shape[0] = t1 - t0;
      e.shape[1] = v1 - v0;
      device.launch(kernel_name("head_cross_entropy_tiles", {w.dtype}), cut.grid(t1 - t0, v1 - v0), e, part, words, ids,
                    parts, rows, v0);
      device.launch(kernel_name("head_cross_entropy_settle", {w.dtype}), by_row(t1 - t0, kRowThreads), e, sum,
                    static_cast<const HeadPart *>(parts), rows, cut.tiles(v1 - v0), static_cast<int32_t>(v0 == 0));
      linear_backward_input(device, sum, e, CudaWeight(device, words, false), v0 > 0);
    }
    device.launch(kernel_name("head_cross_entropy_finish", {gradX.dtype, w.dtype}), by_row(t1 - t0, kRowThreads), gx,
                  rows_of(logp, t0, t1), sum, w, ids, rows, gradScale);
  });
}

}  // namespace

void head_cross_entropy(Device &device, View loss, View gradX, View gradW, View x, const Weight &weight, View targets,
                        float gradScale) {
  CudaDevice &d = gpu(device);
  check_targets(d, "head_cross_entropy", targets, weight.n);
  const View logp = row_values(d, x.rows());
  auto sum_loss = [&](const View &gradLogp) {
    d.launch("head_cross_entropy_loss", Grid{1, 1, kLossThreads}, loss, gradLogp, logp, targets, weight.n, gradScale);
  };
  if (gradX && !gradW) {
    in_one_sweep(d, logp, gradX, x, weight, targets, gradScale);
    sum_loss(View());
    return;
  }
  const View lse = row_values(d, x.rows()), gradLogp = row_values(d, x.rows());
  softmax_rows(d, logp, View(), lse, x, weight, targets, 1);
  sum_loss(gradLogp);
  softmax_backward(d, gradX, gradW, gradLogp, View(), x, weight, targets, lse, View(), 1);
}

#endif

}  // namespace rl::cuda
