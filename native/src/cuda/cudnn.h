// cuDNN's attention, described before a GPU is there.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace rl::cuda {

/// All that a plan of cuDNN depends on. Lengths of sequences and of the batch are upper limits there.
struct CudnnShape {
  bool backward;
  int32_t dtype;  // RL_BF16 or RL_F16
  int64_t sequences, rows, heads, kv_heads, size;
  int64_t q_stride, k_stride, v_stride, o_stride;                      // of rows, in elements
  int64_t grad_q_stride, grad_k_stride, grad_v_stride, grad_o_stride;  // backward only
  float scale;
  bool deterministic = true;  // backward only

  auto operator<=>(const CudnnShape &) const = default;
};

/// Opens the library; an empty text, or why it cannot be used.
std::string load_cudnn(const char *file);

/// Whether the library that was opened has such an attention for a GPU that its description (JSON, as cuDNN writes it) names and
/// that need not be here: an empty text, or the reason why not. Needs a driver library, if only in name.
std::string cudnn_refuses(const CudnnShape &shape, const std::string &gpu, int32_t capability);

}  // namespace rl::cuda
