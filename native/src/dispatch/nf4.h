// The numbers of NF4 (Dettmers et al. 2023, QLoRA), the same for every backend.
#pragma once

#include <cstdint>

namespace rl {

/// Values that share an absmax, and blocks whose absmax share one where it is quantised itself.
constexpr int64_t kNf4Block = 64, kNf4NestedBlock = 256;

/// Quantiles of the normal distribution, 0 and +-1 among them (appendix E).
alignas(64) constexpr float kNf4Codes[16] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

/// In quantisation a smaller absmax counts as this.
constexpr float kNf4LeastAbsmax = 1e-38f;

/// bf16 products: codes are rounded to bf16, each of them always in the same direction, so that errors could add up with K where
/// x has a mean. Multiplied by this, the codes' errors cancel over a matrix's values, whatever their distribution, and are
/// smaller than those of bf16(code * absmax). Found by search over [1,2); decision 006.
constexpr float kNf4CodeScale = 1.2869436f;

}  // namespace rl
