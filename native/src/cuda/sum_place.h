// Device code: where products of 16 rows of W with rows of x leave their sums in shared memory.
#pragma once

#include "cuda/primitives.h"

namespace rl::cuda {

/// The place of the sum of row t of x and row `column` of W's 16. A fragment's lanes have rows 2 q of x, and columns g; readers
/// have two rows and all columns. Eight columns at a time change places, so that neither meet in a bank.
DEVICE int sum_place(int t, int column) { return (t * 16 + column) ^ (t / 2 % 4 * 8); }

}  // namespace rl::cuda
