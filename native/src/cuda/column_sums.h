// gradW[c] += sum over rows: pieces of kPieceRows rows first, side by side, then the pieces in order. The cut depends on nothing
// but the shape, so bits do not vary.
#pragma once

#include <cstdint>

namespace rl::cuda {

constexpr int64_t kPieceRows = 64;

inline int64_t piece_count(int64_t rows) { return (rows + kPieceRows - 1) / kPieceRows; }

}  // namespace rl::cuda
