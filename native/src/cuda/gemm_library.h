// A library of matrix products that can stand in for our own tiles: cuBLASLt, where it is found. matrix_product.h asks it.
#pragma once

#include <memory>
#include <string>

#include "cuda/driver.h"
#include "dispatch/view.h"

namespace rl::cuda {

class CudaDevice;

/// c (=, or += with `accumulate`) A B + bias. c [rows, columns]; A is a [rows, depth] if it lies along the contraction, else
/// a [depth, rows]; B is b [columns, depth] along it, else b [depth, columns]; bias f32 [columns], or null.
struct Gemm {
  View c, a;
  bool a_along;
  View b;
  bool b_along;
  View bias;
  bool accumulate;

  int64_t rows() const { return c.rows(); }
  int64_t columns() const { return c.cols(); }
  int64_t depth() const { return a_along ? a.cols() : a.rows(); }
  double multiply_adds() const { return static_cast<double>(rows() * columns()) * static_cast<double>(depth()); }
};

class GemmLibrary {
 public:
  virtual ~GemmLibrary() = default;
  /// "cuBLASLt 13.1.1"
  virtual std::string name() const = 0;
  /// Queues the product; false if the library has none for such dtypes or shapes. With `required` that is an error,
  /// RL_UNSUPPORTED, for dtypes that it has and addresses that are aligned. One thread at a time.
  virtual bool launch(CudaDevice &device, CUstream stream, const Gemm &gemm, bool required) = 0;
};

/// How a device comes by one: null and the reason where there is none. The current context is the device's.
using OpenGemmLibrary = std::unique_ptr<GemmLibrary> (*)(bool tf32, std::string &why_not);

/// This machine's cuBLASLt of the CUDA release that was compiled for.
std::unique_ptr<GemmLibrary> open_cublaslt(bool tf32, std::string &why_not);

}  // namespace rl::cuda
