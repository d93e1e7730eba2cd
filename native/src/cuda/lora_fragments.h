// Legs of a lora_linear (lora.h) for kernels whose base product goes from memory to fragments of mma.m16n8k16 without tiles: few
// rows, NF4's codes. Such a kernel has a second instance, ..._lora, that takes the table besides; the first is as it would be
// without adapters.
//
// These kernels cut the contraction into kLegParts parts whose sums are added in their order, and the steps of a segment's leg are
// dealt out to them, step i to part i % kLegParts: so the warps share them, and a row's sum depends on its own segment only. A part
// begins with its legs: their addresses are three loads deep, and meanwhile the first of W is on its way.
#pragma once

#include "cuda/lora.h"
#if !defined(RL_KERNELS)
#include "cuda/cuda_device.h"
#endif

namespace rl::cuda {

constexpr int kLegParts = 8;

#if defined(RL_KERNELS)

/// A product without adapters.
struct NoLegs {
  DEVICE_MEMBER bool reach(int) const { return false; }
  template <int kN>
  DEVICE_MEMBER void add(float (&)[kN][4], int64_t, int64_t, int) const {}
};

/// A lane's columns of a line, 8 q .. 8 q + 7 (q = lane % 4) of each 32. Two products take eight: the first one's index 2 q + e of
/// the contraction is column 8 q + e, its index 8 + 2 q + e is 8 q + 2 + e; the second one's are four columns on.
DEVICE const bf16 *leg_line(const void *data, int64_t pitch, int64_t line) {
  return static_cast<const bf16 *>(data) + line * pitch + lane() % 4 * 8;
}
/// Eight of them, or zeros.
DEVICE uint4 leg_columns(const bf16 *line, bool inside) {
  return inside ? load_vector(reinterpret_cast<const uint4 *>(line)) : make_uint4(0, 0, 0, 0);
}

/// The legs of y, W's side as operand A.
struct AddedLegs {
  LoraTable table;

  /// Whether any segment's leg has steps for this part.
  DEVICE_MEMBER bool reach(int part) const { return part * kStep < table.most_depth; }
  /// total += their part for columns [column, column + 16) and rows [row, row + 8 kN).
  template <int kN>
  DEVICE_MEMBER void add(float (&total)[kN][4], int64_t row, int64_t column, int part) const {
    const Legs legs{table, row, row + 8 * kN, column, column + 16};
    legs.for_each([&](const LoraRange &range, const LoraEntry &entry) {
      const int64_t mine = column + lane() / 4, t = row + lane() / 4;
      const bool has_upper = mine >= range.from && mine < range.to,
                 has_lower = mine + 8 >= range.from && mine + 8 < range.to;
      const int depth = entry.depth, begin = static_cast<int>(entry.begin - t), end = static_cast<int>(entry.end - t);
      const bf16 *w = leg_line(entry.leg, depth, mine - range.from), *rows = leg_line(range.rows, range.pitch, t);
      const int pitch = static_cast<int>(range.pitch);
#pragma unroll 1
      for (int k = part * kStep; k < depth; k += kLegParts * kStep) {
        const uint4 upper = leg_columns(w + k, has_upper), lower = leg_columns(w + 8 * depth + k, has_lower);
        const uint32_t a0[4] = {upper.x, lower.x, upper.y, lower.y}, a1[4] = {upper.z, lower.z, upper.w, lower.w};
#pragma unroll
        for (int n = 0; n < kN; n++) {
          const uint4 x = leg_columns(rows + n * 8 * pitch + k, n * 8 >= begin && n * 8 < end);
          mma_bf16(total[n], a0, x.x, x.y);
          mma_bf16(total[n], a1, x.z, x.w);
        }
      }
      return true;
    });
  }
};

#else

/// Launches KERNEL of some dtypes, or KERNEL_lora if there are legs.
template <class... P>
void launch_beside(CudaDevice &device, const std::string &kernel, std::initializer_list<int32_t> dtypes,
                   const LoraTable *legs, const Grid &grid, const P &...arguments) {
  if (legs) {
    device.launch(kernel_name((kernel + "_lora").c_str(), dtypes), grid, arguments..., *legs);
  } else {
    device.launch(kernel_name(kernel.c_str(), dtypes), grid, arguments...);
  }
}

#endif

}  // namespace rl::cuda
