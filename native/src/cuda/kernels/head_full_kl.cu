// p = softmax(z), z = x W^T / temperature; q = softmax(zRef), zRef = xRef Wref^T / temperature.
// kl = sum_v p_v (log p_v - log q_v) = sum_v p_v (z_v - zRef_v) - lse + lseRef.  kl, lse, lseRef [T]  (=)
// dz_v = gradKl p_v (log p_v - log q_v - kl) / temperature;  gradX = dz W  (=);  gradW += dz^T x.
// The reference is frozen.
//
// One sweep: a block makes both products for its tile, so neither logits nor probabilities leave the multiprocessor. Traffic: head.h.
#include "cuda/head.h"

namespace rl::cuda {

#if defined(RL_KERNELS)

/// A tile's elements in the hands of the threads that have them in another dtype's product.
template <class To, class From, class Tiles>
DEVICE Accumulator<To, Tiles> redistribute(const Accumulator<From, Tiles> &z, float *shared) {
  constexpr int kPitch = Accumulator<From, Tiles>::kStagedPitch;
  z.stage(shared);
  __syncthreads();
  Accumulator<To, Tiles> other;
#pragma unroll
  for (int i = 0; i < other.kHeldRows; i++) {
#pragma unroll
    for (int j = 0; j < other.kHeldColumns; j++) other.at(i, j) = shared[other.row(i) * kPitch + other.column(j)];
  }
  __syncthreads();
  return other;
}

/// Both products of a tile; each thread has the same elements of both.
template <class T, class Ref>
struct BothLogits {
  using Tiles = HeadTiles<T, Ref>;
  using A = Accumulator<T, Tiles>;
  A reference, policy;

  DEVICE_MEMBER BothLogits(const HeadTile<Tiles> &tile, const View &x, const View &w, const View &xRef,
                           const View &wRef, float scale)
      : reference(reference_of(tile, xRef, wRef, scale)), policy(logits<T>(tile, x, w, scale)) {}

 private:
  static DEVICE_MEMBER A reference_of(const HeadTile<Tiles> &tile, const View &xRef, const View &wRef, float scale) {
    const auto z = logits<Ref>(tile, xRef, wRef, scale);
    if constexpr (std::is_same_v<T, Ref>) {
      return z;
    } else {
      return redistribute<T>(z, reinterpret_cast<float *>(tile.shared));
    }
  }
};

/// parts, partsRef [T, tiles of V].
template <class T, class Ref>
DEVICE void reduce_tile(const View &x, const View &w, const View &xRef, const View &wRef, HeadPart *parts,
                        HeadPart *partsRef, float scale) {
  SHARED_DYNAMIC(shared);
  const HeadTile<HeadTiles<T, Ref>> tile(x, w, shared);
  BothLogits<T, Ref> z(tile, x, w, xRef, wRef, scale);
  reduce_logits(tile, z.policy, parts, [&](int i, int j, float) { return z.policy.at(i, j) - z.reference.at(i, j); });
  reduce_logits(tile, z.reference, partsRef, [](int, int, float) { return 0.0f; });
}

template <class T, class Ref>
DEVICE void make_gradients(const View &dz, const View &x, const View &w, const View &xRef, const View &wRef,
                           const View &gradKl, const View &lse, const View &lseRef, const View &kl, float scale) {
  SHARED_DYNAMIC(shared);
  const HeadTile<HeadTiles<T, Ref>> tile(x, w, shared);
  BothLogits<T, Ref> z(tile, x, w, xRef, wRef, scale);
  store_gradients(tile, z.policy, dz, [&](int i, int64_t row) {
    const float g = gradKl.f32()[row] * scale, p = lse.f32()[row], q = lseRef.f32()[row], mean = kl.f32()[row];
    return [=, &z](int j) {
      const float log_p = z.policy.at(i, j) - p;
      return g * __expf(log_p) * (log_p - (z.reference.at(i, j) - q) - mean);
    };
  });
}

#define HEAD_FULL_KL(T, Ref)                                                                                    \
  KERNEL(head_full_kl_tiles_##T##_##Ref, (HeadTiles<T, Ref>::kThreads), View x, View w, View xRef, View wRef,   \
         HeadPart *parts, HeadPart *partsRef, float scale) {                                                    \
    reduce_tile<T, Ref>(x, w, xRef, wRef, parts, partsRef, scale);                                              \
  }                                                                                                             \
  KERNEL(head_full_kl_gradients_##T##_##Ref, (HeadTiles<T, Ref>::kThreads), View dz, View x, View w, View xRef, \
         View wRef, View gradKl, View lse, View lseRef, View kl, float scale) {                                 \
    make_gradients<T, Ref>(dz, x, w, xRef, wRef, gradKl, lse, lseRef, kl, scale);                               \
  }
FOR_FLOATS_2(HEAD_FULL_KL)

KERNEL(head_full_kl_merge, kMergeThreads, View kl, View lse, View lseRef, const HeadPart *parts,
       const HeadPart *partsRef, int64_t count) {
  const int64_t row = thread_of_grid() / 32;
  if (row >= kl.rows()) return;  // the whole warp
  const HeadRow all = merge_parts(parts + row * count, count), ref = merge_parts(partsRef + row * count, count);
  if (lane() != 0) return;
  lse.f32()[row] = static_cast<float>(all.lse);
  lseRef.f32()[row] = static_cast<float>(ref.lse);
  kl.f32()[row] = static_cast<float>(all.mean - all.lse + ref.lse);
}

#else

void head_full_kl(Device &device, View kl, View lse, View lseRef, View x, const Weight &weight, View xRef,
                  const Weight &weightRef, float temperature) {
  CudaDevice &d = gpu(device);
  const View w = matrix_of(weight), wRef = matrix_of(weightRef);
  const HeadCut cut(w.dtype, wRef.dtype);
  const int64_t group = group_rows(x.rows()), tiles = cut.tiles(w.rows());
  HeadPart *parts = d.scratch<HeadPart>(group * tiles), *partsRef = d.scratch<HeadPart>(group * tiles);
  for_row_groups(x.rows(), [&](int64_t t0, int64_t t1) {
    d.launch(kernel_name("head_full_kl_tiles", {w.dtype, wRef.dtype}), cut.grid(t1 - t0, w.rows()), rows_of(x, t0, t1),
             w, rows_of(xRef, t0, t1), wRef, parts, partsRef, 1 / temperature);
    d.launch("head_full_kl_merge", by_merged_row(t1 - t0), rows_of(kl, t0, t1), rows_of(lse, t0, t1),
             rows_of(lseRef, t0, t1), static_cast<const HeadPart *>(parts), static_cast<const HeadPart *>(partsRef),
             tiles);
  });
}

void head_full_kl_backward(Device &device, View gradX, View gradW, View gradKl, View x, const Weight &weight, View xRef,
                           const Weight &weightRef, View lse, View lseRef, View kl, float temperature) {
  CudaDevice &d = gpu(device);
  const View w = matrix_of(weight), wRef = matrix_of(weightRef);
  head_gradients(d, gradX, gradW, x, weight, [&](const View &dz, int64_t t0, int64_t t1, int64_t v0, int64_t v1) {
    d.launch(kernel_name("head_full_kl_gradients", {w.dtype, wRef.dtype}),
             HeadCut(w.dtype, wRef.dtype).grid(t1 - t0, v1 - v0), dz, rows_of(x, t0, t1), rows_of(w, v0, v1),
             rows_of(xRef, t0, t1), rows_of(wRef, v0, v1), rows_of(gradKl, t0, t1), rows_of(lse, t0, t1),
             rows_of(lseRef, t0, t1), rows_of(kl, t0, t1), 1 / temperature);
  });
}

#endif

}  // namespace rl::cuda
