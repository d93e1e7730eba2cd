// A library of attention that can stand in for our own kernels: cuDNN, with RLHF4J_CUDA_ATTENTION=cudnn.
#pragma once

#include <memory>
#include <string>

#include "cuda/driver.h"
#include "dispatch/view.h"

namespace rl::cuda {

class CudaDevice;

/// The tensors of rl_attention.
struct AttentionTensors {
  View o, lse, q, k, v, cu;
  float scale;
  int32_t window;
};
/// Those that rl_attention_backward has besides.
struct AttentionGradients {
  View q, k, v, o;  // o: the incoming one
};

class AttentionLibrary {
 public:
  virtual ~AttentionLibrary() = default;
  /// "cuDNN 9.20.0"
  virtual std::string name() const = 0;
  /// Queue it. Throw RL_UNSUPPORTED with the reason where the library has no such attention. One thread at a time.
  virtual void forward(CudaDevice &device, CUstream stream, const AttentionTensors &x) = 0;
  virtual void backward(CudaDevice &device, CUstream stream, const AttentionTensors &x,
                        const AttentionGradients &g) = 0;
};

/// How a device comes by one: null and the reason where there is none. The current context is the device's.
using OpenAttentionLibrary = std::unique_ptr<AttentionLibrary> (*)(std::string &why_not);

/// This machine's cuDNN of the release that was compiled for.
std::unique_ptr<AttentionLibrary> open_cudnn(std::string &why_not);

// ---- what it needs of our kernels (kernels/cudnn_attention.cu)

constexpr int kMostStrides = 9;
struct RowStrides {
  int64_t of[kMostStrides];
};

/// offsets[i * (B + 1) + b] = cu[b] * strides.of[i], lengths[b] = cu[b + 1] - cu[b]; values of cu that are none become empty.
void cudnn_offsets(CudaDevice &device, int64_t *offsets, int32_t *lengths, const View &cu, int64_t rows,
                   const RowStrides &strides, int32_t count);
/// y [columns, rows] = the transpose of x [rows, columns], f32.
void cudnn_transpose(CudaDevice &device, float *y, const float *x, int64_t rows, int64_t columns);

}  // namespace rl::cuda
