// The matrix of a linear layer on a GPU: row-major as checkpoints store it, which tensor cores read well in both directions, or
// in NF4 (nf4_matrix.h).
#pragma once

#include "cuda/cuda_device.h"
#include "cuda/nf4_matrix.h"

namespace rl::cuda {

class CudaWeight final : public Weight {
 public:
  /// packed: a copy of its own; else the tensor itself, which must live on.
  CudaWeight(CudaDevice &device, View w, bool packed);
  /// The parts' rows joined, in four bits.
  CudaWeight(CudaDevice &device, const Nf4 *parts, int32_t count, int32_t dtype);
  ~CudaWeight() override;

  /// [to - from, k], dense, of the weight's dtype. In NF4: dequantised to scratch memory of the running op.
  View rows(int64_t from, int64_t to) const;
  /// What a kernel reads that takes the matrix in NF4; null if it is not.
  const Nf4Matrix *nf4() const { return nf4_.parts ? &nf4_ : nullptr; }

 private:
  View dequantised(int64_t from, int64_t to) const;

  CudaDevice &device_;
  View matrix_;  // if not in NF4
  Nf4Matrix nf4_{};
  std::vector<Nf4Part> parts_;  // as the device has them
  void *owned_ = nullptr;
  int64_t bytes_ = 0;
};

inline const CudaWeight &cuda(const Weight &weight) { return static_cast<const CudaWeight &>(weight); }
/// All of it, as any kernel takes it; in NF4 this is a copy, made anew by each call.
inline View matrix_of(const Weight &weight) { return cuda(weight).rows(0, weight.n); }

/// A matrix as nf4_quantize writes it.
Nf4Part as_part(const Nf4 &x, int64_t begin);

}  // namespace rl::cuda
