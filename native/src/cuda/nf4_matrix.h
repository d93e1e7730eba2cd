// A frozen matrix W [n,k] in NF4 as kernels read it.
//
// Where k is a multiple of 64 ("tiled") a block of 64 values lies within a row, and the codes lie in tiles of 16 rows by 64
// columns, 512 bytes, in the order in which the lanes of a warp want them for mma.m16n8k16:
//   codes[row / 16][column / 64][lane][half][side][4],  lane = row % 8 * 4 + column % 32 / 8,  half = row % 16 / 8,
//   side = column % 64 / 32,
// four bytes being 8 columns as they are stored, the first in the high half of the first byte. So one load of 16 bytes by each lane
// brings a whole tile, side by side in memory: rows g and g + 8 of columns 8 q .. 8 q + 7 and 32 on for lane 4 g + q. The
// contraction's order within a tile is then not the columns' own; the other operand is read in the same order, and in that the
// 16 bytes of neighbouring lanes lie side by side.
// absmax lies as [row / 16][column / 64][row % 16], u8 where it is quantised itself: kept so, 1 byte for 32 of codes, since f32
// would be an eighth more traffic and memory. What its steps mean is looked up in tables that stay in the cache.
// Rows of padding are zeros.
// Otherwise blocks cross rows, and the parts lie one after the other as they came.
#pragma once

#include "dispatch/nf4.h"
#include "dispatch/view.h"

namespace rl::cuda {

constexpr int64_t kNf4Rows = 16;  // of a tile; its columns are a block
constexpr int64_t kNf4TileBytes = 512;

/// Rows [begin, end) came with tables of their own.
struct Nf4Part {
  int64_t begin;
  int64_t end;
  const uint8_t *codes;       // if not tiled
  const void *absmax;         // if not tiled
  const float *nestedCode;    // if doubled, as the two below
  const float *nestedAbsmax;  // by blocks of the part's own
  const float *offset;
};

struct Nf4Matrix {
  int64_t n, k;
  const uint8_t *codes;  // if tiled
  const void *absmax;    // if tiled: f32, or u8 if doubled
  const Nf4Part *parts;  // ascending, without gaps
  int32_t tiled;
  int32_t doubled;
};

}  // namespace rl::cuda
