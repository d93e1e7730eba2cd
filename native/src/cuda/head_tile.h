// Logits as tiles in registers, for the kernels of head.h: a tile's product, what it leaves of each row, how the rows' parts are
// merged, and how a tile of dz goes to memory.
#pragma once

#include <type_traits>

#include "cuda/op.h"
#include "cuda/tiles.h"
#if defined(RL_KERNELS)
#include "cuda/tile_product.h"
#endif

namespace rl::cuda {

/// A tile of logits of one row: the largest m, the sum of e^(z - m), and the sum of something times e^(z - m). A vector, to be
/// read and written by one access.
struct alignas(16) HeadPart {
  float top, sum, weighted, unused;
};

/// Tiles of logits by tensor cores. One product: warps of 64 x 64, which read shared memory least, two blocks a
/// multiprocessor. Two products, whose tiles a thread holds both: warps of 64 x 32.
using LogitTiles = Tiling<128, 128, 2, 2, 4>;
using LogitPairTiles = Tiling<128, 128, 2, 4, 4>;

/// Bytes of shared memory of a block: for its product, and afterwards for what its threads tell each other.
template <class Tiles>
constexpr int64_t kHeadShared = Tiles::kRows == 128 ? 80 << 10 : 36 << 10;

#if defined(RL_KERNELS)

// Exponentials of logits are __expf: its relative error grows with the distance from 0, about 1e-7 for each 1, but so falls
// what it counts for in a sum.

/// Tiles of logits of this type, or of the policy's and the reference's.
template <class... T>
using HeadTiles = std::conditional_t<((sizeof(T) == 4) || ...), SmallTiles,
                                     std::conditional_t<sizeof...(T) == 1, LogitTiles, LogitPairTiles>>;

/// Where this block's tile of logits lies: rows along x, so that neighbouring blocks share W; the vocabulary along y.
template <class Tiles>
struct HeadTile {
  int64_t row, column;    // the first ones
  int rows, columns;      // how many there are
  unsigned char *shared;  // kHeadShared<Tiles> bytes
  DEVICE_MEMBER HeadTile(const View &x, const View &w, unsigned char *shared)
      : row(static_cast<int64_t>(blockIdx.x) * Tiles::kRows),
        column(static_cast<int64_t>(blockIdx.y) * Tiles::kColumns),
        rows(static_cast<int>(smaller(Tiles::kRows, x.rows() - row))),
        columns(static_cast<int>(smaller(Tiles::kColumns, w.rows() - column))),
        shared(shared) {}
  /// A number for each row from each of the warps that share it.
  template <class A>
  DEVICE_MEMBER float *row_parts(int number) const {
    return reinterpret_cast<float *>(shared) + number * Tiles::kRows * A::kRowParts;
  }
};

/// scale x W^T for a tile.
template <class T, class Tiles>
DEVICE Accumulator<T, Tiles> logits(const HeadTile<Tiles> &tile, const View &x, const View &w, float scale) {
  static_assert(kHeadShared<Tiles> >= sizeof(T) * ProductBuffers<T, true, true, Tiles>::kSize);
  using A = Accumulator<T, Tiles>;
  const Operand<T> a{x.as<T>(), x.row_stride(), x.rows(), x.cols()};
  const Operand<T> b{w.as<T>(), w.row_stride(), w.rows(), w.cols()};
  A z = tile_product<T, true, true, Tiles>(a, b, tile.row, tile.column, reinterpret_cast<T *>(tile.shared));
#pragma unroll
  for (int i = 0; i < A::kHeldRows; i++) {
#pragma unroll
    for (int j = 0; j < A::kHeldColumns; j++) z.at(i, j) *= scale;
  }
  return z;
}

/// values[i] is what this thread has of its row i; afterwards what all of the row have, folded in an order that depends on the
/// tile alone. By the whole block; shared [rows of the tile][A::kRowParts] is in use until the next barrier.
template <class A, class Fold>
DEVICE void fold_rows(float (&values)[A::kHeldRows], float *shared, Fold &&fold) {
#pragma unroll
  for (int i = 0; i < A::kHeldRows; i++) {
#pragma unroll
    for (int step = A::kRowLanes / 2; step > 0; step /= 2) {
      values[i] = fold(values[i], __shfl_xor_sync(kFullWarp, values[i], step));
    }
    if (lane() % A::kRowLanes == 0) shared[A::row(i) * A::kRowParts + A::row_part()] = values[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < A::kHeldRows; i++) {
    const float *parts = shared + A::row(i) * A::kRowParts;
    values[i] = parts[0];
#pragma unroll
    for (int p = 1; p < A::kRowParts; p++) values[i] = fold(values[i], parts[p]);
  }
}

/// The largest logit of each of this thread's rows of a tile. In use afterwards: the first part of tile.shared.
template <class A, class Tiles>
DEVICE void largest_logits(const HeadTile<Tiles> &tile, A &z, float (&top)[A::kHeldRows]) {
#pragma unroll
  for (int i = 0; i < A::kHeldRows; i++) {
    top[i] = -INFINITY;
#pragma unroll
    for (int j = 0; j < A::kHeldColumns; j++) {
      if (A::column(j) < tile.columns) top[i] = fmaxf(top[i], z.at(i, j));
    }
  }
  fold_rows<A>(top, tile.template row_parts<A>(0), [](float a, float b) { return fmaxf(a, b); });
}

/// Sums over the columns of each of this thread's rows. `number`: which part of tile.shared.
template <class A, class Tiles>
DEVICE void add_columns(const HeadTile<Tiles> &tile, float (&sums)[A::kHeldRows], int number) {
  fold_rows<A>(sums, tile.template row_parts<A>(number), [](float a, float b) { return a + b; });
}

/// parts[row, tile], by one thread for each row.
template <class A, class Tiles>
DEVICE void store_parts(const HeadTile<Tiles> &tile, HeadPart *parts, const float (&top)[A::kHeldRows],
                        const float (&sum)[A::kHeldRows], const float (&weighted)[A::kHeldRows]) {
  if (lane() % A::kRowLanes != 0 || A::row_part() != 0) return;
#pragma unroll
  for (int i = 0; i < A::kHeldRows; i++) {
    if (A::row(i) >= tile.rows) continue;
    store_vector(reinterpret_cast<float4 *>(parts + (tile.row + A::row(i)) * gridDim.y + blockIdx.y),
                 make_float4(top[i], sum[i], weighted[i], 0));
  }
}

/// The parts of a tile, with weight(i, j, z - top) times e^(z - top) summed over this thread's elements (i, j) and the others'.
template <class A, class Tiles, class Weight>
DEVICE void reduce_logits(const HeadTile<Tiles> &tile, A &z, HeadPart *parts, Weight &&weight) {
  float top[A::kHeldRows], sum[A::kHeldRows] = {}, weighted[A::kHeldRows] = {};
  largest_logits(tile, z, top);
#pragma unroll
  for (int i = 0; i < A::kHeldRows; i++) {
#pragma unroll
    for (int j = 0; j < A::kHeldColumns; j++) {
      if (A::column(j) >= tile.columns) continue;
      const float distance = z.at(i, j) - top[i], e = __expf(distance);
      sum[i] += e;
      weighted[i] += e * weight(i, j, distance);
    }
  }
  add_columns<A>(tile, sum, 1);
  add_columns<A>(tile, weighted, 2);
  store_parts<A>(tile, parts, top, sum, weighted);
}

/// chosen[row]: the target's logit, if it lies in this tile. `first`: the word that w begins with.
template <class A, class Tiles>
DEVICE void pick_targets(const HeadTile<Tiles> &tile, A &z, const View &targets, int64_t first, float *chosen) {
#pragma unroll
  for (int i = 0; i < A::kHeldRows; i++) {
    if (A::row(i) >= tile.rows) continue;
    const int64_t row = tile.row + A::row(i), target = targets.i32()[row] - first - tile.column;
#pragma unroll
    for (int j = 0; j < A::kHeldColumns; j++) {
      if (A::column(j) == target && target < tile.columns) chosen[row] = z.at(i, j);
    }
  }
}

/// One row of the whole vocabulary.
struct HeadRow {
  double lse;       // log sum e^z
  double mean_log;  // sum p (z - lse), where the parts' weight is z - top
  double mean;      // sum p weight, where it is no distance from the top
};

DEVICE HeadPart load_part(const HeadPart *part) {
  const float4 x = load_vector(reinterpret_cast<const float4 *>(part));
  return {x.x, x.y, x.z, x.w};
}

/// Merges a row's parts in an order that depends on their number alone; by one warp, every lane gets the result.
DEVICE HeadRow merge_parts(const HeadPart *parts, int64_t count) {
  float top = -INFINITY;
  for (int64_t p = lane(); p < count; p += 32) top = fmaxf(top, load_part(parts + p).top);
  for (int step = 16; step > 0; step /= 2) top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, step));
  double sum = 0, distance = 0, weighted = 0;
  for (int64_t p = lane(); p < count; p += 32) {
    const HeadPart part = load_part(parts + p);
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

/// Writes a tile, columns past the vocabulary's end too: dz has room for whole tiles. tile.shared must be free.
template <class T, class Tiles>
DEVICE void store_tile(const HeadTile<Tiles> &tile, const Accumulator<T, Tiles> &z, const View &dz) {
  static_assert(kHeadShared<Tiles> >= Tiles::template kStagedBytes<sizeof(T)>);
  constexpr int kRun = 16 / sizeof(T);
  for_each_run<kRun>(z, reinterpret_cast<float *>(tile.shared), [&](int row, int column, const float(&values)[kRun]) {
    if (row >= tile.rows) return;
    T *out = dz.row<T>(tile.row + row) + tile.column + column;
    if constexpr (sizeof(T) == 2) {
      const uint4 run{pack_bf16(values[0], values[1]), pack_bf16(values[2], values[3]), pack_bf16(values[4], values[5]),
                      pack_bf16(values[6], values[7])};
      store_vector(reinterpret_cast<uint4 *>(out), run);
    } else {
      store_vector(reinterpret_cast<float4 *>(out), float4{values[0], values[1], values[2], values[3]});
    }
  });
}

/// dz = gradient(i, row) (j) for this thread's elements (i, j) of a tile, whose row is `row` of x. z is overwritten.
template <class T, class Tiles, class Gradient>
DEVICE void store_gradients(const HeadTile<Tiles> &tile, Accumulator<T, Tiles> &z, const View &dz,
                            Gradient &&gradient) {
  using A = Accumulator<T, Tiles>;
#pragma unroll
  for (int i = 0; i < A::kHeldRows; i++) {
    if (A::row(i) >= tile.rows) continue;
    auto of_row = gradient(i, tile.row + A::row(i));
#pragma unroll
    for (int j = 0; j < A::kHeldColumns; j++) z.at(i, j) = of_row(j);
  }
  store_tile(tile, z, dz);
}

#endif

}  // namespace rl::cuda
