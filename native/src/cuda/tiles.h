// The sizes of tile_product.h, for kernels and for those who launch them.
#pragma once

#include <cstdint>

namespace rl::cuda {

constexpr int kStep = 32;  // of the contraction, at a time

/// How a block of kWarpsDown x kWarpsAcross warps cuts a tile of C, and how many steps' operands shared memory holds (bf16).
template <int kRows_, int kColumns_, int kWarpsDown_, int kWarpsAcross_, int kStages_>
struct Tiling {
  static constexpr int kRows = kRows_, kColumns = kColumns_, kStages = kStages_;
  static constexpr int kWarpsDown = kWarpsDown_, kWarpsAcross = kWarpsAcross_;
  static constexpr int kWarpRows = kRows / kWarpsDown, kWarpColumns = kColumns / kWarpsAcross;
  static constexpr int kThreads = 32 * kWarpsDown * kWarpsAcross;
  // C in f32 on its way out: rows 8 words apart, so that fragments' rows meet banks of their own.
  static constexpr int kStagedPitch = kColumns + 8, kStagedFloats = kRows * kStagedPitch;
};
using SmallTiles = Tiling<64, 64, 2, 2, 3>;
using LargeTiles = Tiling<128, 128, 2, 4, 4>;
using FlatTiles = Tiling<16, 64, 1, 4, 6>;

// Of a small tile.
constexpr int kTile = SmallTiles::kRows, kProductThreads = SmallTiles::kThreads;

}  // namespace rl::cuda
