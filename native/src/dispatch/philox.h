// Philox4x32-10 (Salmon et al. 2011): random numbers as a function of a key and a counter, so that any backend, thread
// count or order of evaluation sees the same ones.
// The project's use: key = seed; counter = (stream lo, stream hi, row, column / 4); word column % 4 belongs to the
// column.
#pragma once

#include <cstdint>

#include "formula.h"  // also from where src is no include path: tests

namespace rl {

struct Philox4 {
  uint32_t word[4];
};

RL_FORMULA Philox4 philox4x32_10(uint64_t key, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; round++) {
    const uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * c0, p1 = static_cast<uint64_t>(0xCD9E8D57u) * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0, n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

/// The words of columns 4 group .. 4 group + 3 of a row.
RL_FORMULA Philox4 philox(uint64_t seed, uint64_t stream, uint32_t row, uint32_t group) {
  return philox4x32_10(seed, static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32), row, group);
}

/// [0, 1): the upper 24 bits, which a float holds exactly.
RL_FORMULA float philox_uniform(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

/// Dropout drops an element when its uniform is below p; as integers: when (word >> 8) < philox_threshold(p).
RL_FORMULA uint32_t philox_threshold(float p) {
  const float scaled = p * 0x1p24f;
  const uint32_t whole = static_cast<uint32_t>(scaled);
  return whole + (static_cast<float>(whole) < scaled ? 1u : 0u);
}

}  // namespace rl
