// The CPU backend's matrix of a linear layer, and the form in which products read it.
//
// Panels: 64 columns of B (rows of W) side by side, the contraction running outwards; bf16 keeps two steps of it
// together, as the processors' dot-product instructions want: panel[k / 2][64][2]. One layout for every number of rows:
// it is what oneDNN asks for from two rows on (BA16a64b2a, f32 BA16a64b, the contraction padded to 32 or 16), and what
// our own kernel for few rows streams.
#pragma once

#include "cpu/cpu_nf4.h"

namespace rl::cpu {

enum class Layout : int32_t {
  panels,
  panels_by_row,  // the panels of W^T for B = W, which multiply turns one at a time: no second copy is kept
  by_column,      // plain memory, element (k, n) at n * k_total + k: a row-major W in the forward
  by_row,         // plain memory, element (k, n) at k * n_total + n: a row-major W in the backward
  nf4,            // data is an Nf4Matrix W: the forward, with W's rows from `from` on
  nf4_by_row      // the same in the backward
};

/// B of Y = X B, [k,n].
struct Matrix {
  const void *data;
  int32_t dtype;
  Layout layout;
  int64_t k;
  int64_t n;
  int64_t from = 0;
};

constexpr int64_t kPanel = 64;
/// Rows of W that a product of the backward takes at most, so that a panel that was turned stays in the second-level cache.
constexpr int64_t kBackwardRows = 4096;

/// The contraction's length in a panel.
inline int64_t padded_k(int64_t k, int32_t dtype) {
  const int64_t step = dtype == RL_BF16 ? 32 : 16;
  return (k + step - 1) / step * step;
}
/// Elements that a [k,n] matrix takes in panels.
inline int64_t panels_size(int64_t k, int64_t n, int32_t dtype) {
  return (n + kPanel - 1) / kPanel * kPanel * padded_k(k, dtype);
}

/// Copies a plain [k,n] matrix into panels, padding with zeros.
void fill_panels(void *panels, const Matrix &plain, int threads);

class CpuWeight final : public Weight {
 public:
  CpuWeight(CpuDevice &device, View w, bool packed);
  CpuWeight(CpuDevice &device, std::unique_ptr<const Nf4Matrix> nf4, int32_t dtype);
  ~CpuWeight() override;

  /// W[from:to]^T, of y = x W^T. `from` is a multiple of kPanel.
  Matrix forward(int64_t from, int64_t to) const;
  Matrix forward() const { return forward(0, n); }
  /// W[from:to], of gradX = gradY W. `from` is a multiple of kPanel, and `to` too or n.
  Matrix backward(int64_t from, int64_t to) const;

 private:
  CpuDevice &device_;
  const void *plain_ = nullptr;  // of a view
  std::unique_ptr<const Nf4Matrix> nf4_;
  void *panels_ = nullptr;
};

inline const CpuWeight &cpu(const Weight &weight) { return static_cast<const CpuWeight &>(weight); }

}  // namespace rl::cpu
