// gradA += gh^T drop(x), gradB += scale gradY[:, from:to]^T h over the rows of each segment.
// gh, h [T,r], x [T,K], gradY [T,N].
// Products of tile_product.h that contract along the rows: 64 columns of x (or gradY) by the ranks, in bf16 three copies
// of each (lora.h), of x what dropout keeps (its 1 / (1 - p) is in gh). Long segments are cut into parts of whole steps,
// so that a GPU is filled; a second launch adds the copies of the parts in their order, and segments that share an
// adapter in theirs: no atomics, same bits.
// Traffic: x once for each range and 64 of 3 r columns, gradY once; sums parts * (K + N) * 3 r * 4 bytes written and read.
#include "cuda/lora.h"
#include "cuda/matrix_product.h"
#if !defined(RL_KERNELS)
#include <algorithm>

#include "cuda/lora_gradients.h"
#endif

namespace rl::cuda {

constexpr int kSumThreads = 256;

#if defined(RL_KERNELS)

/// Columns of x, across the contraction, of which a mask keeps some. `first_row`: the mask's row for k = 0.
template <class T>
struct KeptColumns {
  Operand<T> x;
  int64_t depth;
  DropoutMask mask;
  int64_t first_row;

  template <class Buffer>
  DEVICE_MEMBER void load(T *tile, int64_t first, int64_t k) const {
    x.template load<Buffer>(tile, first, k);
  }
  /// Each thread drops in the pieces that it has copied itself.
  template <class Buffer>
  DEVICE_MEMBER void settle(T *tile, int64_t first, int64_t k) const {
    if (!mask.words) return;
    constexpr int kChunk = Buffer::kChunk;
#pragma unroll 1
    for (int i = threadIdx.x; i < Buffer::kChunks; i += kProductThreads) {
      const int l = Buffer::line(i), c = i % Buffer::kAcross * kChunk;
      const uint32_t keep = mask.word(first_row + k + l, (first + c) / 32 * 32) >> ((first + c) % 32);
      T *at = tile + l * Buffer::kPitch + c;
#pragma unroll
      for (int e = 0; e < kChunk; e++) {
        if (!(keep >> e & 1)) at[e] = from_f32<T>(0.0f);
      }
    }
  }
};

/// blockIdx.y: a segment's gradA (even) or gradB (odd); blockIdx.x: a part of its rows, and a tile.
template <class T>
DEVICE void gradients(const LoraTable &table, const View &x) {
  SHARED_DYNAMIC(shared);
  const LoraEntry &e = table.entries[blockIdx.y / 2];
  const LoraRange &range = table.ranges[e.range];
  const bool of_a = blockIdx.y % 2 == 0;
  const T *big = of_a ? x.as<T>() : range.in.as<T>();
  const int64_t columns = of_a ? x.cols() : range.in.cols(), stride = of_a ? x.row_stride() : range.in.row_stride(),
                small = lora_copies(sizeof(T)) * e.rank;
  const int64_t across = (columns + kTile - 1) / kTile, tiles = across * ((small + kTile - 1) / kTile);
  const int64_t part = blockIdx.x / tiles, tile = blockIdx.x % tiles;
  if (!e.gradA || part >= e.parts) return;
  const int64_t row = e.begin + part * e.part_rows, depth = smaller(e.part_rows, e.end - row);
  const KeptColumns<T> a{
      {big + row * stride, stride, columns, depth}, depth, {of_a ? range.mask : nullptr, e.end, range.words}, row};
  const T *ranks = static_cast<const T *>(of_a ? range.rows : range.split_h) + row * range.pitch;
  const Operand<T> b{ranks, range.pitch, small, depth};
  const int64_t first = tile % across * kTile, first_rank = tile / across * kTile;
  const Accumulator<T> sum =
      tile_product<T, false, false, SmallTiles>(a, b, first, first_rank, reinterpret_cast<T *>(shared));
  View sums;
  sums.data = e.sums[of_a ? 0 : 1] + part * columns * small;
  sums.shape[0] = columns, sums.shape[1] = sums.stride[0] = small;
  constexpr int kRun = Result<float>::kRun;
  const Result<float> result(sums, View{}, false);
  for_each_run<kRun>(sum, reinterpret_cast<float *>(shared),
                     [&](int i, int j, float(&values)[kRun]) { result.write(first + i, first_rank + j, values); });
}

/// Of element (c, j) of gradA^T or gradB, all parts of all segments that share it.
DEVICE float sum_of_parts(const LoraTable &table, bool of_a, int64_t columns, int copies, int64_t c, int64_t j) {
  float total = 0;
  for (int q = static_cast<int>(blockIdx.y) / 2; q >= 0; q = table.entries[q].next) {
    const LoraEntry &e = table.entries[q];
    const int64_t small = copies * e.rank;
    const float *sums = e.sums[of_a ? 0 : 1] + c * small + j;
    float sum = 0;
    for (int p = 0; p < e.parts; p++) {
      for (int copy = 0; copy < copies; copy++) sum += sums[p * columns * small + copy * e.rank];
    }
    total += of_a ? sum : e.scale * sum;
  }
  return total;
}

/// blockIdx.y as above; blockIdx.x: kTurned columns of x or gradY by as many ranks. gradA lies across its sums and is turned.
DEVICE void add_gradients(const LoraTable &table, int64_t k, int copies) {
  SHARED(float, tile, [kTurned * kTurned]);
  const LoraEntry &e = table.entries[blockIdx.y / 2];
  const LoraRange &range = table.ranges[e.range];
  const bool of_a = blockIdx.y % 2 == 0;
  const int64_t columns = of_a ? k : range.to - range.from, across = (e.rank + kTurned - 1) / kTurned,
                first = blockIdx.x / across * kTurned, first_rank = blockIdx.x % across * kTurned;
  if (!e.gradA || !e.first || first >= columns) return;
  const int width = static_cast<int>(smaller(kTurned, e.rank - first_rank));
  for (int i = threadIdx.x; i < kTurned * width; i += kSumThreads) {
    const int64_t c = first + i / width, j = first_rank + i % width;
    const float sum = c < columns ? sum_of_parts(table, of_a, columns, copies, c, j) : 0.0f;
    if (of_a) {
      tile[turned_place(i)] = sum;
    } else if (c < columns) {
      e.gradB[c * e.rank + j] += sum;
    }
  }
  if (!of_a) return;  // the whole block
  __syncthreads();
  for (int i = threadIdx.x; i < kTurned * width; i += kSumThreads) {
    const int c = i % kTurned, j = i / kTurned;
    if (first + c < columns) e.gradA[(first_rank + j) * columns + first + c] += tile[turned_place(c * width + j)];
  }
}

KERNEL(lora_gradients_f32, kProductThreads, LoraTable table, View x) { gradients<f32>(table, x); }
KERNEL(lora_gradients_bf16, kProductThreads, LoraTable table, View x) { gradients<bf16>(table, x); }
KERNEL_BLOCKS(lora_add_gradients, kSumThreads, 5, LoraTable table, int64_t k, int32_t copies) {
  add_gradients(table, k, copies);
}

#else

LoraGradients::LoraGradients(CudaDevice &device, std::vector<LoraEntry> &entries, const std::vector<LoraRange> &ranges,
                             int64_t k, int32_t dtype)
    : device_(device), entries_(static_cast<int64_t>(entries.size())) {
  const int64_t copies = lora_copies(dtype_size(dtype));
  for (LoraEntry &e : entries) {
    if (!e.gradA) continue;
    const LoraRange &range = ranges[static_cast<size_t>(e.range)];
    const int64_t n = range.to - range.from, rows = e.end - e.begin, small = copies * e.rank;
    const int64_t tiles = ceil_div(std::max(k, n), kTile) * ceil_div(small, kTile);
    const int64_t most = std::max<int64_t>(1, std::min({rows / 256, ceil_div(256, tiles), int64_t{16}}));
    e.part_rows = ceil_div(ceil_div(rows, kStep), most) * kStep;
    e.parts = static_cast<int32_t>(ceil_div(rows, e.part_rows));
    e.sums[0] = device.scratch<float>(e.parts * k * small);
    e.sums[1] = device.scratch<float>(e.parts * n * small);
    most_blocks_ = std::max(most_blocks_, tiles * e.parts);
    most_tiles_ = std::max(most_tiles_, ceil_div(std::max(k, n), kTurned) * ceil_div(e.rank, kTurned));
  }
}

void LoraGradients::launch(const LoraTable &table, const View &x) const {
  const int size = static_cast<int>(dtype_size(x.dtype));
  device_.launch(kernel_name("lora_gradients", {x.dtype}),
                 Grid{most_blocks_, entries_ * 2, kProductThreads, product_bytes<SmallTiles>(false, false, size)},
                 table, x);
  device_.launch("lora_add_gradients", Grid{most_tiles_, entries_ * 2, kSumThreads}, table, x.cols(),
                 static_cast<int32_t>(lora_copies(size)));
}

#endif

}  // namespace rl::cuda
