// z = x W^T / temperature; lse = log sum_v e^z_v, logp = z_target - lse, entropy = -sum_v p_v log p_v.
// x [T,H], W [V,H]. All (=).
// dz_v = (gradLogp (1[v = target] - p_v) - gradEntropy p_v (log p_v + entropy)) / temperature;
// gradX = dz W  (=);  gradW += dz^T x. Logits are made again: keeping them would take T x V.
//
// Forward: a block for each tile of 128 x 128 logits leaves 12 bytes a row, and a warp for each row merges them in the order of
// the vocabulary. Backward: head_gradients. Traffic: head.h.
#include "cuda/head.h"
#if !defined(RL_KERNELS)
#include "cuda/indices.h"
#endif

namespace rl::cuda {

#if defined(RL_KERNELS)

/// parts [T, tiles of V]; chosen [T]: the target's logit, not written where the target is none.
template <class T>
DEVICE void reduce_tile(const View &x, const View &w, const View &targets, HeadPart *parts, float *chosen,
                        float scale) {
  using A = Accumulator<T, HeadTiles<T>>;
  SHARED_DYNAMIC(shared);
  const HeadTile<HeadTiles<T>> tile(x, w, shared);
  A z = logits<T>(tile, x, w, scale);
  pick_targets(tile, z, targets, 0, chosen);
  reduce_logits(tile, z, parts, [](int, int, float distance) { return distance; });
}

/// dz of the vocabulary's words from `first` on, whose rows are w.
template <class T>
DEVICE void make_gradients(const View &dz, const View &x, const View &w, const View &targets, const View &gradLogp,
                           const View &gradEntropy, const View &lse, const View &entropy, int64_t first, float scale) {
  using A = Accumulator<T, HeadTiles<T>>;
  SHARED_DYNAMIC(shared);
  const HeadTile<HeadTiles<T>> tile(x, w, shared);
  A z = logits<T>(tile, x, w, scale);
  store_gradients(tile, z, dz, [&](int i, int64_t row) {
    const float g = gradLogp.f32()[row] * scale, ge = gradEntropy ? gradEntropy.f32()[row] * scale : 0.0f;
    const float total = lse.f32()[row], h = gradEntropy ? entropy.f32()[row] : 0.0f;
    const int64_t target = targets.i32()[row] - first - tile.column;
    return [=, &z](int j) {
      const float log_p = z.at(i, j) - total, hit = A::column(j) == target ? g : 0.0f;
      return hit - __expf(log_p) * (g + ge * (log_p + h));
    };
  });
}

#define HEAD_LOGPROB(T)                                                                                                \
  KERNEL(head_logprob_tiles_##T, HeadTiles<T>::kThreads, View x, View w, View targets, HeadPart *parts, float *chosen, \
         float scale) {                                                                                                \
    reduce_tile<T>(x, w, targets, parts, chosen, scale);                                                               \
  }                                                                                                                    \
  KERNEL(head_logprob_gradients_##T, HeadTiles<T>::kThreads, View dz, View x, View w, View targets, View gradLogp,     \
         View gradEntropy, View lse, View entropy, int64_t first, float scale) {                                       \
    make_gradients<T>(dz, x, w, targets, gradLogp, gradEntropy, lse, entropy, first, scale);                           \
  }
FOR_FLOATS(HEAD_LOGPROB)

KERNEL(head_logprob_merge, kMergeThreads, View logp, View entropy, View lse, View targets, const HeadPart *parts,
       const float *chosen, int64_t count, int64_t vocabulary) {
  const int64_t row = thread_of_grid() / 32;
  if (row >= logp.rows()) return;  // the whole warp
  const HeadRow all = merge_parts(parts + row * count, count);
  if (lane() != 0) return;
  const bool valid = index_at(targets.i32(), row, vocabulary) >= 0;
  lse.f32()[row] = static_cast<float>(all.lse);
  logp.f32()[row] = valid ? static_cast<float>(static_cast<double>(chosen[row]) - all.lse) : 0.0f;
  if (entropy) entropy.f32()[row] = static_cast<float>(-all.mean_log);
}

#else

void softmax_rows(CudaDevice &device, const View &logp, const View &entropy, const View &lse, const View &x,
                  const Weight &weight, const View &targets, float scale) {
  const View w = matrix_of(weight);
  const HeadCut cut(w.dtype);
  const int64_t group = group_rows(x.rows()), tiles = cut.tiles(w.rows());
  HeadPart *parts = device.scratch<HeadPart>(group * tiles);
  float *chosen = device.scratch<float>(group);
  for_row_groups(x.rows(), [&](int64_t t0, int64_t t1) {
    const View ids = rows_of(targets, t0, t1);
    device.launch(kernel_name("head_logprob_tiles", {w.dtype}), cut.grid(t1 - t0, w.rows()), rows_of(x, t0, t1), w, ids,
                  parts, chosen, scale);
    device.launch("head_logprob_merge", by_merged_row(t1 - t0), rows_of(logp, t0, t1), rows_of(entropy, t0, t1),
                  rows_of(lse, t0, t1), ids, static_cast<const HeadPart *>(parts), static_cast<const float *>(chosen),
                  tiles, w.rows());
  });
}

void softmax_backward(CudaDevice &device, const View &gradX, const View &gradW, const View &gradLogp,
                      const View &gradEntropy, const View &x, const Weight &weight, const View &targets,
                      const View &lse, const View &entropy, float scale) {
  const View w = matrix_of(weight);
  head_gradients(device, gradX, gradW, x, weight, [&](const View &dz, int64_t t0, int64_t t1, int64_t v0, int64_t v1) {
    device.launch(kernel_name("head_logprob_gradients", {w.dtype}), HeadCut(w.dtype).grid(t1 - t0, v1 - v0), dz,
                  rows_of(x, t0, t1), rows_of(w, v0, v1), rows_of(targets, t0, t1), rows_of(gradLogp, t0, t1),
                  rows_of(gradEntropy, t0, t1), rows_of(lse, t0, t1), rows_of(entropy, t0, t1), v0, scale);
  });
}

void head_logprob(Device &device, View logp, View entropy, View lse, View x, const Weight &weight, View targets,
                  float temperature) {
  check_indices(gpu(device), "head_logprob", "targets", targets, weight.n);
  softmax_rows(gpu(device), logp, entropy, lse, x, weight, targets, 1 / temperature);
}

void head_logprob_backward(Device &device, View gradX, View gradW, View gradLogp, View gradEntropy, View x,
                           const Weight &weight, View targets, View lse, View entropy, float temperature) {
  check_indices(gpu(device), "head_logprob_backward", "targets", targets, weight.n);
  softmax_backward(gpu(device), gradX, gradW, gradLogp, gradEntropy, x, weight, targets, lse, entropy, 1 / temperature);
}

#endif

}  // namespace rl::cuda
