// Dropout by counter, four columns at a time: one call of Philox gives their four words (dispatch/philox.h).
#pragma once

#include "cuda/device_code.h"
#include "dispatch/philox.h"

namespace rl::cuda {

/// Factors of columns 4 group .. 4 group + 3 of row t: 0 or 1 / (1 - p).
struct Kept {
  float factor[4];
};
DEVICE Kept kept(const rl_dropout &dropout, int64_t t, int64_t group) {
  if (dropout.p == 0) return {{1, 1, 1, 1}};
  const uint32_t threshold = philox_threshold(dropout.p);
  const float scale = 1.0f / (1.0f - dropout.p);
  const Philox4 words = philox(dropout.seed, dropout.stream, static_cast<uint32_t>(t), static_cast<uint32_t>(group));
  Kept out;
  for (int i = 0; i < 4; i++) out.factor[i] = words.word[i] >> 8 < threshold ? 0.0f : scale;
  return out;
}

/// The factor of one column.
DEVICE float kept_at(const rl_dropout &dropout, int64_t t, int64_t column) {
  const Kept four = kept(dropout, t, column / 4);
  const int64_t i = column % 4;
  return i == 0 ? four.factor[0] : i == 1 ? four.factor[1] : i == 2 ? four.factor[2] : four.factor[3];
}

/// What dropout makes of x: 0 where it drops, whatever x is.
DEVICE float dropped(float x, float factor) { return factor == 0 ? 0.0f : x * factor; }

}  // namespace rl::cuda
