// The matrix of a linear layer on a GPU: row-major as checkpoints store it, which tensor cores read well in both directions.
#pragma once

#include "cuda/cuda_device.h"

namespace rl::cuda {

class CudaWeight final : public Weight {
 public:
  /// packed: a copy of its own; else the tensor itself, which must live on.
  CudaWeight(CudaDevice &device, View w, bool packed)
      : Weight(w.rows(), w.cols(), w.dtype), device_(device), matrix_(w) {
    if (!packed) return;
    matrix_.data = owned_ = device.allocate(bytes());
    device.copy_on_device(owned_, w.data, bytes());
  }
  ~CudaWeight() override {
    if (owned_) device_.release(owned_, bytes());
  }

  /// [n,k], dense.
  const View &matrix() const { return matrix_; }

 private:
  int64_t bytes() const { return n * k * dtype_size(dtype); }

  CudaDevice &device_;
  View matrix_;
  void *owned_ = nullptr;
};

inline const View &matrix_of(const Weight &weight) { return static_cast<const CudaWeight &>(weight).matrix(); }

}  // namespace rl::cuda
