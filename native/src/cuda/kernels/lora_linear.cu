// y = x W^T + bias, and for rows t of each segment on columns [from, to) of y:
//   h[t] = drop(x[t]) a^T,  y[t] += scale h[t] b^T.
// x [T,K], W [N,K], a [r,K], b [to-from,r], h [T,R].
// Backward, with gh[t] = scale gradY[t, from:to] b:  gradX = gradY W + (gh a) mask; gradA, gradB: lora_gradients.cu.
//
// Launches, each for all column ranges and segments:
//   lora_put    the tables of segments, out of the parameters (3.5 KiB a launch, so one as a rule), so that a captured
//               graph keeps them
//   lora_mask   with dropout: a bit for each element of x, so that Philox is called once for four elements of a range
//   lora_pack   a and b as their products take them (lora.h)
//   lora_down   h = drop(x) a^T (or gh = gradY b): 16 or 32 rows a block, a warp for each eighth of the contraction,
//               whose sums are added in their order. The cut depends on K alone, so a row's bits depend on nothing but
//               the row.
//   the product, with legs: y is written once, rounded once. That of tile_product.h; of few rows or of NF4's codes theirs
//   (lora_fragments.h).
// Where the base is a library's the product of tile_product.h is made of the legs alone and added to y.
//
// Traffic for bf16, T = 4096, K = N = 4096, r = 16: x 32 MiB once for h (all ranges together), which its product then
// finds in the second-level cache in part; a and b 0.5 MiB read, 1.2 written and read again. Work on tensor cores:
// lora_down 2 T K 3r = 1.6 GF and the legs 2 T N 6r = 3.2 GF beside the base's 137 GF. f32 activations: plain
// multiply-adds, lora_down a row a block.
#include "cuda/lora.h"
#include "cuda/matrix_product.h"
#if defined(RL_KERNELS)
#include "cuda/dropout.h"
#else
#include <algorithm>
#include <cstring>
#include <map>

#include "cuda/linear_few_rows.h"
#include "cuda/lora_gradients.h"
#include "cuda/nf4_linear.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 256;
constexpr int kParts = kThreads / 32;  // of lora_down's contraction
constexpr int kRows = 16;              // of a tensor core's tile
constexpr int kWideRows = 32;          // of a wide block, which reads the adapters half as often
constexpr int kSlab = 32;
constexpr int kMostRanks = 512;  // rlhf4j.h

struct LoraWords {
  uint32_t value[896];
};

#if defined(RL_KERNELS)

/// An f32 value as lora_copies() of T.
template <class T>
struct Copies {
  T value[lora_copies(sizeof(T))];

  DEVICE_MEMBER explicit Copies(float v) {
#pragma unroll
    for (int i = 0; i < lora_copies(sizeof(T)); i++) {
      value[i] = from_f32<T>(v);
      v -= to_f32(value[i]);
    }
  }
};

/// Which copy stands in each part of a row's side of a leg, and of W's: h m l h m h, h h h m m l.
DEVICE int row_copy(int part) { return part < 3 ? part : part < 5 ? part - 3 : 0; }
DEVICE int weight_copy(int part) { return part < 3 ? 0 : part < 5 ? 1 : 2; }

/// What stands at place c of W's side of a leg; value(rank).
template <class T, class Value>
DEVICE T leg_element(int64_t c, int64_t ranks, Value &&value) {
  const int part = static_cast<int>(c / ranks);
  if (part >= lora_parts(sizeof(T))) return from_f32<T>(0.0f);
  const Copies<T> v(value(c % ranks));
  if constexpr (sizeof(T) == 4) {
    return v.value[0];
  } else {
    const int copy = weight_copy(part);
    return copy == 0 ? v.value[0] : copy == 1 ? v.value[1] : v.value[2];
  }
}

/// Rank j's places in a row's side of a leg, and zeros after all ranks.
template <class T>
DEVICE void put_leg(T *row, int64_t j, const LoraEntry &e, float v) {
  const Copies<T> copies(v);
#pragma unroll
  for (int part = 0; part < lora_parts(sizeof(T)); part++) row[part * e.rank + j] = copies.value[row_copy(part)];
  for (int64_t c = lora_parts(sizeof(T)) * e.rank + j; c < e.depth; c += e.rank) row[c] = from_f32<T>(0.0f);
}

/// Place `at` of each copy of `down`, which are `size` apart.
template <class T>
DEVICE void put_copies(T *down, int64_t at, int64_t size, float v) {
  const Copies<T> copies(v);
#pragma unroll
  for (int copy = 0; copy < lora_copies(sizeof(T)); copy++) down[copy * size + at] = copies.value[copy];
}

/// down = b^T [ranks,n]: a block turns tiles of kTurned columns by as many ranks.
template <class T>
DEVICE void pack_turned(const LoraEntry &e, int64_t n) {
  SHARED(float, tile, [kTurned * kTurned]);
  const int64_t ranks = e.rank, pitch = whole_steps(n), across = (ranks + kTurned - 1) / kTurned;
  for (int64_t i = blockIdx.x; i < pitch / kTurned * across; i += gridDim.x) {
    const int64_t column = i / across * kTurned, first = i % across * kTurned;
    const int width = static_cast<int>(smaller(kTurned, ranks - first));
    for (int p = threadIdx.x; p < kTurned * width; p += kThreads) {
      const int64_t c = column + p / width;
      tile[turned_place(p)] = c < n ? e.b[c * ranks + first + p % width] : 0.0f;
    }
    __syncthreads();
    for (int p = threadIdx.x; p < kTurned * width; p += kThreads) {
      const int j = p / kTurned, c = p % kTurned;
      put_copies(static_cast<T *>(e.down), (first + j) * pitch + column + c, ranks * pitch,
                 tile[turned_place(c * width + j)]);
    }
    __syncthreads();
  }
}

/// blockIdx.y: the segment.
template <class T>
DEVICE void pack(const LoraTable &table, const LoraEntry &e, int64_t k, int64_t n) {
  const int64_t ranks = e.rank, step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  T *leg = static_cast<T *>(e.leg);
  if (table.backward) {
    pack_turned<T>(e, n);
    const int64_t columns = whole_steps(k);
    for (int64_t i = thread_of_grid(); i < e.depth * columns; i += step) {
      const int64_t column = i % columns;
      leg[i] = leg_element<T>(i / columns, ranks, [&](int64_t j) { return column < k ? e.a[j * k + column] : 0.0f; });
    }
  } else {
    const int64_t pitch = whole_steps(k);
    for (int64_t i = thread_of_grid(); i < ranks * pitch; i += step) {
      const int64_t c = i % pitch;
      put_copies(static_cast<T *>(e.down), i, ranks * pitch, c < k ? e.a[i / pitch * k + c] : 0.0f);
    }
    for (int64_t i = thread_of_grid(); i < e.depth * n; i += step) {
      leg[i] = leg_element<T>(i % e.depth, ranks, [&](int64_t j) { return e.b[i / e.depth * ranks + j]; });
    }
  }
}

/// What a product with `down` is for: h and the row's leg, or gh's leg, and h's.
template <class T>
DEVICE void finish(const LoraTable &table, const LoraRange &range, const LoraEntry &e, int64_t t, int64_t j, float v) {
  float *h = range.h.row<float>(t) + j;
  T *rows = static_cast<T *>(range.rows) + t * range.pitch;
  if (table.backward) {
    put_leg(rows, j, e, v * e.scale * range.keep);
    put_leg(static_cast<T *>(range.split_h) + t * range.pitch, j, e, *h);
  } else {
    *h = v * range.keep;
    put_leg(rows, j, e, e.scale * *h);
  }
}

/// Columns column .. column + 7 of a row, with zeros from `width` on.
DEVICE uint4 load_eight(const bf16 *row, int64_t column, int64_t width, bool vectors) {
  if (vectors && column + 8 <= width) return load_vector(reinterpret_cast<const uint4 *>(row + column));
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int64_t c = column + 2 * i;
    const uint32_t low = c < width ? __bfloat16_as_ushort(row[c]) : 0;
    const uint32_t high = c + 1 < width ? __bfloat16_as_ushort(row[c + 1]) : 0;
    words[i] = high << 16 | low;
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

/// Of eight columns those whose bits are set.
DEVICE uint4 keep_eight(const uint4 &x, uint32_t bits) {
  auto pair = [&](uint32_t word, int i) {
    return word & ((bits >> (2 * i) & 1 ? 0xffffu : 0u) | (bits >> (2 * i + 1) & 1 ? 0xffff0000u : 0u));
  };
  return make_uint4(pair(x.x, 0), pair(x.y, 1), pair(x.z, 2), pair(x.w, 3));
}

/// blockIdx.x: 16 kDown rows of a run; blockIdx.y: 8 kTiles ranks, of all ranges together (forward) or of a range
/// (backward), of which each has `groups`.
template <int kTiles, int kDown>
DEVICE void down(const LoraTable &table, int32_t groups) {
  constexpr int kRanks = 8 * kTiles;
  constexpr int kPitch = kRanks + (kRanks % 32 == 0 ? 8 : 0);  // pairs of four rows meet no bank twice
  SHARED(float, sums, [kParts][kRows][kPitch]);
  SHARED(int, range_of, [kTiles]);
  SHARED(int, first_rank, [kTiles]);
  SHARED(const uint32_t *, mask_of, [kTiles]);
  SHARED(int, found, [1]);
  int low = 0;
  for (int high = table.run_count - 1; low < high;) {
    const int middle = (low + high + 1) / 2;
    if (table.runs[middle].first_tile <= blockIdx.x) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const LoraRun &run = table.runs[low];
  const int64_t first = run.begin + (blockIdx.x - run.first_tile) * (kRows * kDown);
  if (threadIdx.x == 0) {
    int skip = static_cast<int>(blockIdx.y) % groups * kTiles, n = 0;
    const int one = static_cast<int>(blockIdx.y) / groups;
    for (int r = table.backward ? one : 0; r < (table.backward ? one + 1 : table.range_count); r++) {
      if (run.entry[r] < 0) continue;
      const int tiles = (table.entries[run.entry[r]].rank + 7) / 8;
      for (int i = skip; i < tiles && n < kTiles; i++) {
        range_of[n] = r;
        mask_of[n] = table.backward ? nullptr : table.ranges[r].mask;
        first_rank[n++] = i * 8;
      }
      skip = skip > tiles ? skip - tiles : 0;
    }
    found[0] = n;
  }
  __syncthreads();
  const int count = found[0];
  if (count == 0) return;

  const View &x = table.ranges[range_of[0]].in;
  const int64_t width = x.cols(), pitch = whole_steps(width), slabs = pitch / kSlab;
  const bool vectors = reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.row_stride() % 8 == 0;
  // Rows past the last are the last once more, and so are ranks; what they give is not stored.
  int64_t t[2 * kDown];
  const bf16 *rows[2 * kDown];
#pragma unroll
  for (int i = 0; i < 2 * kDown; i++) {
    t[i] = smaller(first + i * 8 + lane() / 4, run.end - 1);
    rows[i] = x.row<bf16>(t[i]);
  }
  const bf16 *weights[kTiles];
  int next[kTiles];      // from a copy to the next
  uint32_t changes = 0;  // bit q: another mask than before
#pragma unroll
  for (int q = 0; q < kTiles; q++) {
    const int r = range_of[q < count ? q : 0];
    const LoraEntry &e = table.entries[run.entry[r]];
    const int64_t rank = smaller(first_rank[q < count ? q : 0] + lane() / 4, e.rank - 1);
    weights[q] = static_cast<const bf16 *>(e.down) + rank * pitch;
    next[q] = static_cast<int>(e.rank * pitch);
    if (q < count && mask_of[q] != (q == 0 ? nullptr : mask_of[q - 1])) changes |= 1u << q;
  }
  float total[kDown][kTiles][4] = {};
  const int64_t end = (warp() + 1) * slabs / kParts;
  for (int64_t slab = warp() * slabs / kParts; slab < end; slab++) {
    const int64_t column = slab * kSlab + lane() % 4 * 8;
    uint4 all[2 * kDown], kept[2 * kDown];
#pragma unroll
    for (int i = 0; i < 2 * kDown; i++) kept[i] = all[i] = load_eight(rows[i], column, width, vectors);
#pragma unroll
    for (int q = 0; q < kTiles; q++) {
      if (q >= count) break;
      if (changes >> q & 1) {
        const uint32_t *mask = mask_of[q];
#pragma unroll
        for (int i = 0; i < 2 * kDown; i++) {
          kept[i] = mask ? keep_eight(all[i], mask[t[i] * slabs + slab] >> (lane() % 4 * 8)) : all[i];
        }
      }
      uint4 b[lora_copies(sizeof(bf16))];
#pragma unroll
      for (int copy = 0; copy < lora_copies(sizeof(bf16)); copy++) {
        b[copy] = load_vector(reinterpret_cast<const uint4 *>(weights[q] + copy * next[q] + column));
      }
#pragma unroll
      for (int i = 0; i < kDown; i++) {
        const uint4 &upper = kept[2 * i], &lower = kept[2 * i + 1];
        const uint32_t a0[4] = {upper.x, lower.x, upper.y, lower.y}, a1[4] = {upper.z, lower.z, upper.w, lower.w};
#pragma unroll
        for (int copy = 0; copy < lora_copies(sizeof(bf16)); copy++) {
          mma_bf16(total[i][q], a0, b[copy].x, b[copy].y);
          mma_bf16(total[i][q], a1, b[copy].z, b[copy].w);
        }
      }
    }
  }
#pragma unroll
  for (int down = 0; down < kDown; down++) {
    if (down > 0) __syncthreads();
#pragma unroll
    for (int q = 0; q < kTiles; q++) {
#pragma unroll
      for (int r = 0; r < 4; r += 2) {
        store_vector(reinterpret_cast<float2 *>(&sums[warp()][lane() / 4 + r / 2 * 8][q * 8 + lane() % 4 * 2]),
                     make_float2(total[down][q][r], total[down][q][r + 1]));
      }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < kRows * count * 8; i += kThreads) {
      // 16 columns are half of a warp's: with the row after the next they meet no bank twice.
      const int l = i / (count * 8), row = (l & ~3) | (l & 1) << 1 | (l >> 1 & 1), c = i % (count * 8);
      const LoraRange &range = table.ranges[range_of[c / 8]];
      const LoraEntry &e = table.entries[run.entry[range_of[c / 8]]];
      const int rank = first_rank[c / 8] + c % 8;
      const int64_t at = first + down * kRows + row;
      if (rank >= e.rank || at >= run.end) continue;
      float sum = 0;
      for (int p = 0; p < kParts; p++) sum += sums[p][row][c];
      finish<bf16>(table, range, e, at, rank, sum);
    }
  }
}

/// blockIdx.x: a row; blockIdx.y: a range. drop(x) passes through shared memory in pieces, a warp for each rank takes
/// its product.
DEVICE void down_f32(const LoraTable &table) {
  constexpr int kPiece = kThreads;
  SHARED(float, row, [kPiece]);
  SHARED(float, sums, [kMostRanks]);
  const LoraRange &range = table.ranges[blockIdx.y];
  const int64_t t = blockIdx.x, n = range.in.cols(), pitch = whole_steps(n);
  int found = -1;
  for (int i = range.first; i < range.first + range.count; i++) {
    if (table.entries[i].begin <= t && t < table.entries[i].end) found = i;
  }
  if (found < 0) return;
  const LoraEntry &e = table.entries[found];
  const uint32_t *mask = table.backward ? nullptr : range.mask;
  const float *x = range.in.row<float>(t), *m = static_cast<const float *>(e.down);
  for (int r = threadIdx.x; r < e.rank; r += kThreads) sums[r] = 0;
  for (int64_t piece = 0; piece < n; piece += kPiece) {
    __syncthreads();
    const int64_t c = piece + threadIdx.x;
    const bool kept = c < n && (!mask || mask[t * range.words + c / 32] >> (c % 32) & 1);
    row[threadIdx.x] = kept ? x[c] : 0.0f;
    __syncthreads();
    for (int r = warp(); r < e.rank; r += kThreads / 32) {
      float dot = 0;
      for (int64_t i = lane(); i < smaller(kPiece, n - piece); i += 32) dot += row[i] * m[r * pitch + piece + i];
      for (int step = 16; step > 0; step /= 2) dot += __shfl_xor_sync(kFullWarp, dot, step);
      if (lane() == 0) sums[r] += dot;
    }
  }
  __syncthreads();
  for (int r = threadIdx.x; r < e.rank; r += kThreads) finish<float>(table, range, e, t, r, sums[r]);
}

/// The product with its legs, or, of an empty x, the legs alone. Rows: RowsAndLegs or what drops, too.
template <class Out, class T, class Tiles, bool kWAlong, class Rows>
DEVICE void product(const View &c, const View &x, const View &w, const View &bias, bool accumulate,
                    const LoraTable &table) {
  SHARED_DYNAMIC(shared);
  const Place place = place_of_block<Tiles>(c.rows(), c.cols());
  const Legs legs{table, place.row, place.row + Tiles::kRows, place.column, place.column + Tiles::kColumns};
  const Rows rows({x.as<T>(), x.row_stride(), c.rows(), x.cols()}, legs);
  if (rows.depth == 0) return;
  const WeightAndLegs<T> weight({w.as<T>(), w.row_stride(), c.cols(), x.cols()}, legs);
  const Accumulator<T, Tiles> sum =
      tile_product<T, true, kWAlong, Tiles>(rows, weight, place.row, place.column, reinterpret_cast<T *>(shared));
  constexpr int kRun = Result<Out>::kRun;
  const Result<Out> result(c, bias, accumulate);
  for_each_run<kRun>(sum, reinterpret_cast<float *>(shared), [&](int i, int j, float(&values)[kRun]) {
    result.write(place.row + i, place.column + j, values);
  });
}

KERNEL(lora_put, kThreads, uint32_t *to, LoraWords words, int32_t count) {
  for (int i = threadIdx.x; i < count; i += kThreads) to[i] = words.value[i];
}

KERNEL(lora_mask, kThreads, LoraTable table, int64_t rows) {
  const LoraRange &range = table.ranges[blockIdx.y];
  const int64_t i = thread_of_grid();
  if (!range.mask || i >= rows * range.words) return;
  const int64_t t = i / range.words, group = i % range.words * 8;
  const uint32_t threshold = philox_threshold(range.dropout.p);
  uint32_t bits = 0;
#pragma unroll 2
  for (int g = 0; g < 8; g++) {
    const Philox4 words =
        philox(range.dropout.seed, range.dropout.stream, static_cast<uint32_t>(t), static_cast<uint32_t>(group + g));
#pragma unroll
    for (int e = 0; e < 4; e++) bits |= (words.word[e] >> 8 < threshold ? 0u : 1u) << (4 * g + e);
  }
  range.mask[i] = bits;
}

#define LORA_PACK(T)                                                      \
  KERNEL_BLOCKS(lora_pack_##T, kThreads, 6, LoraTable table, int64_t k) { \
    const LoraEntry &e = table.entries[blockIdx.y];                       \
    const LoraRange &range = table.ranges[e.range];                       \
    pack<T>(table, e, k, range.to - range.from);                          \
  }
FOR_FLOATS(LORA_PACK)

KERNEL(lora_down_f32, kThreads, LoraTable table) { down_f32(table); }
KERNEL(lora_down_8_bf16, kThreads, LoraTable table, int32_t groups) { down<1, 1>(table, groups); }
KERNEL(lora_down_64_bf16, kThreads, LoraTable table, int32_t groups) { down<8, kWideRows / kRows>(table, groups); }

#define LORA_PRODUCT(name, Out, T, Tiles, w_along, Rows)                                             \
  KERNEL(name##_##Out##_##T, Tiles::kThreads, View c, View x, View w, View bias, int32_t accumulate, \
         LoraTable table) {                                                                          \
    product<Out, T, Tiles, w_along, Rows<T>>(c, x, w, bias, accumulate, table);                      \
  }
#define LORA_LINEAR(Out)                                                                     \
  LORA_PRODUCT(lora_linear, Out, f32, SmallTiles, true, RowsAndLegs)                         \
  LORA_PRODUCT(lora_linear, Out, bf16, SmallTiles, true, RowsAndLegs)                        \
  LORA_PRODUCT(lora_linear_large, Out, bf16, LargeTiles, true, RowsAndLegs)                  \
  LORA_PRODUCT(lora_linear_backward_input, Out, f32, SmallTiles, false, DroppedRowsAndLegs)  \
  LORA_PRODUCT(lora_linear_backward_input, Out, bf16, SmallTiles, false, DroppedRowsAndLegs) \
  LORA_PRODUCT(lora_linear_backward_input_large, Out, bf16, LargeTiles, false, DroppedRowsAndLegs)
FOR_FLOATS(LORA_LINEAR)

#else

namespace {

/// The tables of a call and the memory that its kernels share.
class Adapters {
 public:
  /// in: x, or gradY.
  Adapters(CudaDevice &device, const Lora *loras, int32_t count, const View &in, int64_t k, bool backward)
      : device_(device), k_(k), rows_(in.rows()), dtype_(in.dtype) {
    const int64_t size = dtype_size(dtype_), copies = lora_copies(size);
    for (int32_t i = 0; i < count; i++) {
      const Lora &lora = loras[i];
      LoraRange range{};
      range.from = lora.from, range.to = lora.to, range.h = lora.h;
      range.in = backward ? columns(in, lora.from, lora.to) : in;
      range.first = static_cast<int32_t>(entries_.size());
      const int64_t n = lora.to - lora.from, width = backward ? n : k;
      std::map<const void *, int32_t> last;  // with these gradients
      for (int32_t s = 0; s < lora.count; s++) {
        const LoraSegment &of = lora.segments[s];
        if (of.begin == of.end) continue;
        LoraEntry e{};
        e.begin = of.begin, e.end = of.end, e.scale = of.scale;
        e.a = of.a.f32(), e.b = of.b.f32(), e.gradA = of.gradA.f32(), e.gradB = of.gradB.f32();
        e.rank = static_cast<int32_t>(of.a.rows());
        e.depth = static_cast<int32_t>(whole_steps(e.rank * lora_parts(size)));
        e.range = static_cast<int32_t>(ranges_.size());
        e.next = -1, e.first = 1;
        e.down = device.scratch<char>(copies * e.rank * whole_steps(width) * size);
        e.leg = device.scratch<char>(e.depth * (backward ? whole_steps(k) : n) * size);
        if (e.gradA) {
          const auto [before, fresh] = last.try_emplace(e.gradA, entries_.size());
          if (!fresh) {
            entries_[static_cast<size_t>(before->second)].next = static_cast<int32_t>(entries_.size());
            before->second = static_cast<int32_t>(entries_.size());
            e.first = 0;
          }
        }
        range.pitch = std::max<int64_t>(range.pitch, e.depth);
        table_.most_depth = std::max(table_.most_depth, e.depth);
        most_tiles_ = std::max<int64_t>(most_tiles_, ceil_div(e.rank, 8));
        most_size_ = std::max<int64_t>(most_size_, e.rank * whole_steps(width) + e.depth * std::max(n, k));
        entries_.push_back(e);
      }
      range.count = static_cast<int32_t>(entries_.size()) - range.first;
      if (range.count == 0) continue;
      range.rows = device.scratch<char>(rows_ * range.pitch * size);
      if (backward) range.split_h = device.scratch<char>(rows_ * range.pitch * size);
      range.dropout = lora.dropout;
      range.keep = 1 / (1 - lora.dropout.p);
      range.words = ceil_div(k, 32);
      if (lora.dropout.p > 0) range.mask = device.scratch<uint32_t>(rows_ * range.words);
      dropped_ |= lora.dropout.p > 0;
      ranges_.push_back(range);
    }
    table_.backward = backward;
    table_.range_count = static_cast<int32_t>(ranges_.size());
  }

  bool none() const { return entries_.empty(); }
  const LoraTable &table() const { return table_; }
  std::vector<LoraEntry> &entries() { return entries_; }
  const std::vector<LoraRange> &ranges() const { return ranges_; }

  /// The table on the device, masks, packed adapters, and h (or gh), ready for products.
  void prepare() {
    std::vector<LoraRun> runs = make_runs();
    const int64_t lists = table_.backward ? table_.range_count : 1;
    // Wide blocks read x once for 64 ranks; narrow ones keep a GPU busy where rows are few. A model, to be measured:
    // some 500 rows.
    const bool wide = lay_tiles(runs, kRows) * lists * 4 > device_.multiprocessors();
    const int64_t tiles = lay_tiles(runs, wide ? kWideRows : kRows);
    put(runs);
    if (dropped_) {
      device_.launch("lora_mask", Grid{ceil_div(rows_ * ceil_div(k_, 32), kThreads), table_.range_count, kThreads},
                     table_, rows_);
    }
    const Grid pieces{smaller(ceil_div(most_size_, kThreads * 4), 1024), static_cast<int64_t>(entries_.size()),
                      kThreads};
    device_.launch(kernel_name("lora_pack", {dtype_}), pieces, table_, k_);
    if (dtype_ == RL_F32) {
      device_.launch("lora_down_f32", Grid{rows_, table_.range_count, kThreads}, table_);
      return;
    }
    const int64_t each = table_.backward ? most_tiles_ : most_tiles_ * table_.range_count;
    const int32_t groups = static_cast<int32_t>(ceil_div(each, wide ? 8 : 1));
    device_.launch(wide ? "lora_down_64_bf16" : "lora_down_8_bf16", Grid{tiles, lists * groups, kThreads}, table_,
                   groups);
  }

 private:
  std::vector<LoraRun> make_runs() const {
    std::vector<int64_t> cuts;
    for (const LoraEntry &e : entries_) cuts.push_back(e.begin), cuts.push_back(e.end);
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    std::vector<LoraRun> runs;
    std::vector<int32_t> at;  // the segment of each range that has not ended
    for (const LoraRange &range : ranges_) at.push_back(range.first);
    for (size_t i = 0; i + 1 < cuts.size(); i++) {
      LoraRun run{cuts[i], cuts[i + 1], 0, {}};
      bool any = false;
      for (size_t r = 0; r < kMostLoras; r++) {
        run.entry[r] = -1;
        if (r >= ranges_.size()) continue;
        const int32_t end = ranges_[r].first + ranges_[r].count;
        while (at[r] < end && entries_[static_cast<size_t>(at[r])].end <= run.begin) at[r]++;
        if (at[r] < end && entries_[static_cast<size_t>(at[r])].begin <= run.begin) run.entry[r] = at[r], any = true;
      }
      if (any) runs.push_back(run);
    }
    return runs;
  }

  /// Numbers the runs' tiles of so many rows; how many there are.
  static int64_t lay_tiles(std::vector<LoraRun> &runs, int64_t rows) {
    int64_t tiles = 0;
    for (LoraRun &run : runs) {
      run.first_tile = tiles;
      tiles += ceil_div(run.end - run.begin, rows);
    }
    return tiles;
  }

  /// The three tables, one after the other.
  void put(const std::vector<LoraRun> &runs) {
    std::vector<uint8_t> all;
    auto append = [&](const auto &elements) {
      static_assert(sizeof(elements[0]) % 8 == 0);
      const size_t at = all.size();
      const uint8_t *bytes = reinterpret_cast<const uint8_t *>(elements.data());
      all.insert(all.end(), bytes, bytes + elements.size() * sizeof(elements[0]));
      return at;
    };
    const size_t ranges = append(ranges_), entries = append(entries_), at_runs = append(runs);
    char *to = device_.scratch<char>(static_cast<int64_t>(all.size()));
    LoraWords words;
    for (size_t from = 0; from < all.size(); from += sizeof(words)) {
      const size_t bytes = std::min(sizeof(words), all.size() - from);
      std::memcpy(words.value, all.data() + from, bytes);
      device_.launch("lora_put", Grid{1, 1, kThreads}, reinterpret_cast<uint32_t *>(to + from), words,
                     static_cast<int32_t>(bytes / 4));
    }
    table_.ranges = reinterpret_cast<const LoraRange *>(to + ranges);
    table_.entries = reinterpret_cast<const LoraEntry *>(to + entries);
    table_.runs = reinterpret_cast<const LoraRun *>(to + at_runs);
    table_.run_count = static_cast<int32_t>(runs.size());
  }

  CudaDevice &device_;
  int64_t k_, rows_;
  int32_t dtype_;
  int64_t most_tiles_ = 0, most_size_ = 0;
  bool dropped_ = false;
  std::vector<LoraRange> ranges_;
  std::vector<LoraEntry> entries_;
  LoraTable table_{};
};

/// c = x w + bias with the legs in one product.
void launch_with_legs(CudaDevice &device, const std::string &name, const View &c, const View &x, const View &w,
                      bool w_along, const View &bias, bool accumulate, const LoraTable &table) {
  const Cut cut = cut_product(Gemm{c, x, true, w, w_along, bias, accumulate}, x.dtype != RL_F32);
  const int32_t add = accumulate;
  device.launch(kernel_name((name + cut.tiles).c_str(), {c.dtype, x.dtype}), cut.grid, c, x, w, bias, add, table);
}

/// c += the legs alone.
void launch_legs(CudaDevice &device, const std::string &name, const View &c, const View &x, bool w_along,
                 const LoraTable &table) {
  const View nothing = columns(x, 0, 0);
  launch_with_legs(device, name, c, nothing, nothing, w_along, View{}, true, table);
}

/// Whether the base product is asked of what has no legs: cuBLASLt, or tensor cores for f32.
bool base_apart(const CudaDevice &device, const View &x) {
  return device.options().gemm == Options::Gemm::cublaslt || takes_tf32(device, x);
}

/// gradX = gradY W and the legs.
void put_gradient(CudaDevice &device, const View &gradX, const View &gradY, const Weight &weight,
                  const LoraTable &table) {
  if (const Nf4Matrix *four = nf4_for_product(weight, gradY.rows(), kNf4BackwardRows)) {
    return nf4_linear_backward_input(device, gradX, gradY, *four, false, &table);
  }
  const View w = matrix_of(weight);
  if (base_apart(device, gradY)) {
    launch_product(device, "linear_backward_input", gradX, gradY, true, w, false, View{}, false);
    launch_legs(device, "lora_linear_backward_input", gradX, gradY, false, table);
  } else {
    launch_with_legs(device, "lora_linear_backward_input", gradX, gradY, w, false, View{}, false, table);
  }
}

}  // namespace

void lora_linear(Device &device, View y, View x, const Weight &weight, View bias, const Lora *loras, int32_t count) {
  CudaDevice &d = gpu(device);
  Adapters adapters(d, loras, count, x, weight.k, false);
  if (adapters.none()) return linear(device, y, x, weight, bias, false);
  adapters.prepare();
  if (const Nf4Matrix *four = nf4_for_product(weight, x.rows(), kNf4ForwardRows)) {
    return nf4_linear(d, y, x, *four, bias, false, &adapters.table());
  }
  const View w = matrix_of(weight);
  if (takes_few_rows(x, w)) return linear_few_rows(d, y, x, w, bias, false, &adapters.table());
  if (base_apart(d, x)) {
    launch_product(d, "linear", y, x, true, w, true, bias, false);
    launch_legs(d, "lora_linear", y, x, true, adapters.table());
  } else {
    launch_with_legs(d, "lora_linear", y, x, w, true, bias, false, adapters.table());
  }
}

void lora_linear_backward(Device &device, View gradX, View gradY, View x, const Weight &weight, const Lora *loras,
                          int32_t count) {
  CudaDevice &d = gpu(device);
  Adapters adapters(d, loras, count, gradY, weight.k, true);
  if (adapters.none()) {
    if (gradX) linear_backward_input(device, gradX, gradY, weight, false);
    return;
  }
  LoraGradients gradients(d, adapters.entries(), adapters.ranges(), weight.k, x.dtype);
  adapters.prepare();
  if (gradX) put_gradient(d, gradX, gradY, weight, adapters.table());
  gradients.launch(adapters.table(), x);
}

#endif

}  // namespace rl::cuda
