// The adapters of a lora_linear as its kernels see them (kernels/lora_linear.cu, kernels/lora_gradients.cu).
//
// On tensor cores an f32 value is three of bf16, v = high + middle + low, which hold all of its 24 bits, and a product
// of two such values is six: all but those below 2^-24 of it. (Two of bf16 leave an error of 2^-17, which sums that
// cancel bring to light.) Along a contraction of r ranks that is one of 6 r: [h m l h m h] of one operand with [h h h m
// m l] of the other, filled up with zeros to whole steps. These are the "legs" that a product of tiles takes after its
// own contraction: [x | scale h] [W | b]^T. With f32 activations they are r ranks of f32.
#pragma once

#include "dispatch/view.h"

#if defined(RL_KERNELS)
#include "cuda/tile_product.h"
#endif

namespace rl::cuda {

constexpr int kMostLoras = 8;  // rlhf4j.h
constexpr int kTurned = 32;    // columns and ranks that change places in shared memory at a time

/// A segment of rows [begin, end). Its arrays are of the activations' dtype, filled up with zeros to whole steps of 32:
///   down   [r,K], in bf16 three of them, high, middle, low: what activations meet to become h, or gh
///   leg    forward [N,depth], along the contraction; backward [depth,K], across it
struct LoraEntry {
  int64_t begin, end;
  const float *a, *b;
  float *gradA, *gradB;  // null: frozen
  void *down, *leg;
  float *sums[2];     // of gradA and gradB: f32 [parts, K or N, small]
  int64_t part_rows;  // rows of each part but the last
  float scale;
  int32_t rank;
  int32_t depth;
  int32_t parts;
  int32_t next;   // the next segment with the same gradients, or -1
  int32_t first;  // whether none before it has them
  int32_t range;
  int32_t reserved;
};

/// Columns [from, to) of y.
struct LoraRange {
  int64_t from, to;
  View in;         // what meets `down`: x, or columns [from, to) of gradY
  View h;          // f32 [T,R]
  void *rows;      // [T,pitch] of the activations' dtype: a row's side of its leg, scale h or gh; 1 / (1 - p) in gh
  void *split_h;   // backward: the same for h as it is
  int64_t pitch;   // the largest depth
  uint32_t *mask;  // DropoutMask of x, [T,words]; null without dropout
  int64_t words;
  rl_dropout dropout;
  float keep;            // 1 / (1 - p)
  int32_t first, count;  // of the entries
  int32_t reserved;
};

/// Rows [begin, end) with one segment at most of each range: what lora_down cuts into tiles of 16.
struct LoraRun {
  int64_t begin, end;
  int64_t first_tile;
  int32_t entry[kMostLoras];  // or -1
};

struct LoraTable {
  const LoraRange *ranges;
  const LoraEntry *entries;
  const LoraRun *runs;
  int32_t range_count, run_count;
  int32_t backward;
  int32_t most_depth;  // of the entries
};

RL_ANYWHERE constexpr int64_t whole_steps(int64_t n) { return (n + 31) / 32 * 32; }
/// Numbers of the activations' dtype for one of an adapter, and the parts of its leg.
RL_ANYWHERE constexpr int lora_copies(int64_t element_size) { return element_size == 2 ? 3 : 1; }
RL_ANYWHERE constexpr int lora_parts(int64_t element_size) { return element_size == 2 ? 6 : 1; }

#if defined(RL_KERNELS)

/// Where element i of kTurned lines of up to kTurned floats, one after the other, lies in shared memory on its way from lines to
/// columns. Neither neighbours of a line nor, if its length is a power of two, of a column meet in a bank.
DEVICE int turned_place(int i) { return i ^ i / 32 % 32; }

/// The legs that a tile of rows [row, row_end) and columns [column, column_end) meets, one after the other.
struct Legs {
  LoraTable table;
  int64_t row, row_end, column, column_end;

  struct Leg {
    const LoraRange *range;
    const LoraEntry *entry;
    int64_t k;  // the first of the contraction within the leg
  };

  template <class Use>
  DEVICE_MEMBER void for_each(Use &&use) const {
    for (int r = 0; r < table.range_count; r++) {
      const LoraRange &range = table.ranges[r];
      if (!table.backward && (range.to <= column || range.from >= column_end)) continue;
      for (int e = range.first; e < range.first + range.count; e++) {
        const LoraEntry &entry = table.entries[e];
        if (entry.end <= row) continue;
        if (entry.begin >= row_end) break;
        if (entry.begin < entry.end && !use(range, entry)) return;
      }
    }
  }
  /// Of all of them.
  DEVICE_MEMBER int64_t depth() const {
    int64_t sum = 0;
    for_each([&](const LoraRange &, const LoraEntry &entry) {
      sum += entry.depth;
      return true;
    });
    return sum;
  }
  DEVICE_MEMBER Leg at(int64_t k) const {
    Leg leg{nullptr, nullptr, 0};
    for_each([&](const LoraRange &range, const LoraEntry &entry) {
      leg = {&range, &entry, k};
      k -= entry.depth;
      return k >= 0;
    });
    return leg;
  }
};

/// Starts copying lines of a matrix whose rows are whole steps or zero-filled; lines outside [begin, end) and columns
/// from `width` on become zero. `line`, `column`: of the tile's corner.
template <class Buffer, class T>
DEVICE void load_lines(T *tile, const T *data, int64_t pitch, int64_t line, int64_t begin, int64_t end, int64_t column,
                       int64_t width) {
  constexpr int kChunk = Buffer::kChunk;
#pragma unroll 1
  for (int i = threadIdx.x; i < Buffer::kChunks; i += static_cast<int>(blockDim.x)) {
    const int l = Buffer::line(i), c = i % Buffer::kAcross * kChunk;
    const bool inside = line + l >= begin && line + l < end && column + c < width;
    cp_async16(tile + l * Buffer::kPitch + c, inside ? data + (line + l) * pitch + column + c : data, inside);
  }
}

/// Rows of x (or gradY), then of their legs.
template <class T>
struct RowsAndLegs {
  Operand<T> x;
  Legs legs;
  int64_t own, depth;  // of x in whole steps, and of all

  DEVICE_MEMBER RowsAndLegs(const Operand<T> &x, const Legs &legs)
      : x(x), legs(legs), own((x.depth + kStep - 1) / kStep * kStep), depth(own + legs.depth()) {}

  template <class Buffer>
  DEVICE_MEMBER void load(T *tile, int64_t first, int64_t k) const {
    if (k < own) return x.template load<Buffer>(tile, first, k);
    const Legs::Leg leg = legs.at(k - own);
    load_lines<Buffer>(tile, static_cast<const T *>(leg.range->rows), leg.range->pitch, first, leg.entry->begin,
                       leg.entry->end, leg.k, leg.entry->depth);
  }
};

/// With the dropout that gradX's legs pass through.
template <class T>
struct DroppedRowsAndLegs : RowsAndLegs<T> {
  using RowsAndLegs<T>::RowsAndLegs;
  DEVICE_MEMBER DropoutMask mask(int step) const {
    const int64_t k = static_cast<int64_t>(step) * kStep;
    if (k < this->own) return {nullptr, 0, 0};
    const LoraRange &range = *this->legs.at(k - this->own).range;
    return {range.mask, this->x.count, range.words};
  }
};

/// Rows of W along the contraction (forward) or across it (backward), then of the legs.
template <class T>
struct WeightAndLegs {
  Operand<T> w;
  Legs legs;
  int64_t own;

  DEVICE_MEMBER WeightAndLegs(const Operand<T> &w, const Legs &legs)
      : w(w), legs(legs), own((w.depth + kStep - 1) / kStep * kStep) {}

  template <class Buffer>
  DEVICE_MEMBER void load(T *tile, int64_t first, int64_t k) const {
    if (k < own) return w.template load<Buffer>(tile, first, k);
    const Legs::Leg leg = legs.at(k - own);
    const T *data = static_cast<const T *>(leg.entry->leg);
    const int64_t depth = leg.entry->depth;
    if constexpr (Buffer::kAlong) {
      load_lines<Buffer>(tile, data, depth, first - leg.range->from, 0, leg.range->to - leg.range->from, leg.k, depth);
    } else {
      const int64_t pitch = whole_steps(w.count);
      load_lines<Buffer>(tile, data, pitch, leg.k, 0, depth, first, pitch);
    }
  }
};

#endif

}  // namespace rl::cuda
