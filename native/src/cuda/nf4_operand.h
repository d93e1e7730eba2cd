// Device code: tiles of a matrix in NF4 as fragments of mma.m16n8k16, straight from the codes and without shared memory between.
// A lane's 16 bytes of a tile (nf4_matrix.h) are what it holds of operand A of four products, 16 rows of W by 64 columns, in
// this order of the contraction: product j's index 2 q + e is column c + e, its index 8 + 2 q + e is column c + 2 + e, with
// c = 8 q + j % 2 * 4 + j / 2 * 32 (q = lane % 4, e = 0, 1). So a lane's part of operand B, 8 rows of x by the same columns, is
// columns 8 q .. 8 q + 7 and 8 q + 32 .. 8 q + 39 of row lane / 4.
//
// A byte is two codes, and a table of 256 pairs of bf16 turns it into a register of the fragment. The table lies in shared memory
// 32 times, a bank for each lane: no conflicts, one load for two values. Codes are multiplied by kNf4CodeScale; absmax, divided
// by it, is for the sum over a tile's columns.
#pragma once

#include "cuda/nf4_codes.h"

namespace rl::cuda {

constexpr int kNf4Threads = 256;
constexpr int kNf4Warps = kNf4Threads / 32;
constexpr int kNf4PairTableBytes = 256 * 32 * 4;

/// By a block of 256 threads; a barrier is to follow. Each starts at a chunk of its own, so that stores do not meet in a bank.
DEVICE void fill_nf4_pairs(uint32_t *table) {
  const int byte = threadIdx.x;
  const uint32_t pair = pack_bf16(nf4_code(byte >> 4) * kNf4CodeScale, nf4_code(byte & 15) * kNf4CodeScale);
#pragma unroll
  for (int i = 0; i < 8; i++) {
    store_vector(reinterpret_cast<uint4 *>(table + byte * 32 + (i + byte) % 8 * 4), make_uint4(pair, pair, pair, pair));
  }
}

/// Operand A of the four products of a tile.
struct Nf4Fragments {
  uint32_t a[4][4];

  DEVICE_MEMBER Nf4Fragments(const uint32_t *table, const uint4 &codes) {
    const uint32_t *mine = table + lane();
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const uint32_t upper = (j < 2 ? codes.x : codes.y) >> j % 2 * 16,
                     lower = (j < 2 ? codes.z : codes.w) >> j % 2 * 16;
      a[j][0] = mine[(upper & 255u) * 32];
      a[j][1] = mine[(lower & 255u) * 32];
      a[j][2] = mine[(upper >> 8 & 255u) * 32];
      a[j][3] = mine[(lower >> 8 & 255u) * 32];
    }
  }
};

DEVICE uint4 nf4_tile(const Nf4Matrix &w, int64_t strip, int64_t block) {
  const int64_t tile = strip * (w.k / kNf4Block) + block;
  return load_once(reinterpret_cast<const uint4 *>(w.codes + tile * kNf4TileBytes) + lane());
}

/// Two tiles of one strip, side by side, as a warp has loaded them.
struct Nf4TilePair {
  uint4 codes[2] = {};
  float scale = 0;  // of row lane % 16 in block lane / 16

  /// Blocks [block, end), two at most. `row`: of the strip's row lane % 16.
  DEVICE_MEMBER void load(const Nf4Matrix &w, const Nf4Row &row, int64_t strip, int64_t block, int64_t end) {
    if (block < end) codes[0] = nf4_tile(w, strip, block);
    if (block + 1 < end) codes[1] = nf4_tile(w, strip, block + 1);
    const int64_t mine = block + lane() / 16;
    scale = mine < end ? row[mine] * (1 / kNf4CodeScale) : 0.0f;
  }
  /// Of row `row` of the strip in block i.
  DEVICE_MEMBER float scale_of(int i, int row) const { return __shfl_sync(kFullWarp, scale, i * 16 + row); }
};

/// A lane's 16 columns of x: eight, and those that are 32 on.
struct Nf4Columns {
  uint4 first, second;
};
DEVICE Nf4Columns nf4_columns(const bf16 *x) {
  return {load_vector(reinterpret_cast<const uint4 *>(x)), load_vector(reinterpret_cast<const uint4 *>(x + 32))};
}

/// total += a tile's products with operand B, x(n) giving the lane's 16 columns of x for rows 8 n .. 8 n + 7.
template <int kN, class X>
DEVICE void add_nf4_tile(float (&total)[kN][4], const uint32_t *table, const uint4 &codes, float upper, float lower,
                         X &&x) {
  const Nf4Fragments w(table, codes);
#pragma unroll
  for (int n = 0; n < kN; n++) {
    const auto [first, second] = x(n);
    float sum[4] = {};
    mma_bf16(sum, w.a[0], first.x, first.y);
    mma_bf16(sum, w.a[1], first.z, first.w);
    mma_bf16(sum, w.a[2], second.x, second.y);
    mma_bf16(sum, w.a[3], second.z, second.w);
    total[n][0] = fmaf(sum[0], upper, total[n][0]);
    total[n][1] = fmaf(sum[1], upper, total[n][1]);
    total[n][2] = fmaf(sum[2], lower, total[n][2]);
    total[n][3] = fmaf(sum[3], lower, total[n][3]);
  }
}

}  // namespace rl::cuda
