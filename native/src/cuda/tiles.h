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
  // C in f32 on its way out of a product of elements of that size (tile_product.h says why rows lie so far apart).
  template <int kElementSize>
  static constexpr int kStagedPitch = kColumns + (kElementSize == 2 ? 8 : 16);
  template <int kElementSize>
  static constexpr int kStagedBytes = kRows * kStagedPitch<kElementSize> * 4;
};
using SmallTiles = Tiling<64, 64, 2, 2, 3>;
using LargeTiles = Tiling<128, 128, 2, 4, 4>;

/// Elements of padding a row of an operand in shared memory: 16 bytes, by which ldmatrix meets no bank twice; f32 across the
/// contraction 32 bytes, since a fragment's four rows are read there one float by each lane.
constexpr int tile_padding(bool along, int element_size) { return along || element_size == 2 ? 16 / element_size : 8; }

/// Elements of `count` lines of an operand, kStep deep: along the contraction or across it.
constexpr int tile_elements(bool along, int count, int element_size) {
  const int padding = tile_padding(along, element_size);
  return along ? count * (kStep + padding) : kStep * (count + padding);
}
template <class Tiles>
constexpr int product_stages(int element_size) {
  return element_size == 4 ? 2 : Tiles::kStages;
}
/// Bytes of shared memory of a product whose result leaves through it too.
template <class Tiles>
constexpr int product_bytes(bool a_along, bool b_along, int element_size) {
  const int operands =
      product_stages<Tiles>(element_size) * element_size *
      (tile_elements(a_along, Tiles::kRows, element_size) + tile_elements(b_along, Tiles::kColumns, element_size));
  const int result = element_size == 2 ? Tiles::template kStagedBytes<2> : Tiles::template kStagedBytes<4>;
  return operands > result ? operands : result;
}

// Of a small tile.
constexpr int kTile = SmallTiles::kRows, kProductThreads = SmallTiles::kThreads;

}  // namespace rl::cuda
