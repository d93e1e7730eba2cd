// Device code: values of matrices in NF4.
#pragma once

#include <utility>

#include "cuda/device_code.h"
#include "cuda/nf4_matrix.h"

namespace rl::cuda {

// A device cannot index the host's array, and a copy of it would be local memory: codes are picked by selection.
template <int i>
constexpr float kNf4Code = kNf4Codes[i];
template <int i>
constexpr float kNf4Midpoint = (kNf4Codes[i] + kNf4Codes[i + 1]) / 2;

template <int... j>
DEVICE float nf4_select(int i, std::integer_sequence<int, j...>) {
  float code = 0;
  ((code = i == j ? kNf4Code<j> : code), ...);
  return code;
}
/// For tables and few values.
DEVICE float nf4_code(int i) { return nf4_select(i, std::make_integer_sequence<int, 16>()); }

template <int... j>
DEVICE int nf4_count_below(float x, std::integer_sequence<int, j...>) {
  return (!(x <= kNf4Midpoint<j>)+...);
}
/// How many midpoints are below x; 15 for NaN, as torch.bucketize has it.
DEVICE int nf4_nearest(float x) { return nf4_count_below(x, std::make_integer_sequence<int, 15>()); }

/// Of block `index` of the part.
DEVICE float nf4_absmax(const Nf4Part &part, uint8_t quantised, int64_t index) {
  return part.nestedCode[quantised] * part.nestedAbsmax[index / kNf4NestedBlock] + *part.offset;
}

/// The part that a row of W lies in.
DEVICE const Nf4Part *nf4_part(const Nf4Matrix &w, int64_t row) {
  const Nf4Part *part = w.parts;
  while (row >= part->end) part++;
  return part;
}

/// absmax of a row of a tiled matrix, block by block. The row may be one of padding.
struct Nf4Row {
  const void *absmax;
  const Nf4Part *part;  // null: f32, or a row of padding
  int64_t first;        // the row's first block in its part
  bool zero;

  DEVICE_MEMBER Nf4Row(const Nf4Matrix &w, int64_t row) : absmax(nullptr), part(nullptr), first(0), zero(row >= w.n) {
    const int64_t blocks = w.k / kNf4Block, at = row / kNf4Rows * blocks * kNf4Rows + row % kNf4Rows;
    if (!w.doubled) {
      absmax = static_cast<const float *>(w.absmax) + at;
    } else if (!zero) {
      absmax = static_cast<const uint8_t *>(w.absmax) + at;
      part = nf4_part(w, row);
      first = (row - part->begin) * blocks;
    }
  }
  DEVICE_MEMBER float operator[](int64_t block) const {
    if (zero) return 0;
    if (!part) return static_cast<const float *>(absmax)[block * kNf4Rows];
    return nf4_absmax(*part, static_cast<const uint8_t *>(absmax)[block * kNf4Rows], first + block);
  }
};

}  // namespace rl::cuda
