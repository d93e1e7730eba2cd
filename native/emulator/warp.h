// Collectives of a warp: each lane leaves its arguments, and the last to arrive computes for all.
#pragma once

namespace rl::emulator {

void begin_warps(int threads);

}  // namespace rl::emulator
