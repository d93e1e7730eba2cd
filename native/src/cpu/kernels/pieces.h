// How elementwise ops cut tensors of one shape into work: by rows, or, where all are dense, into runs of equal length
// whatever the shape, so that a vector of millions is no worse than a matrix.
#pragma once

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {

class Pieces {
 public:
  template <class... Views>
  RL_INLINE explicit Pieces(const View &first, const Views &...others)
      : total_(first.elements()), run_(first.cols()), count_(first.rows()) {
    if (is_dense(first) && (is_dense(others) && ...)) {
      dense_ = true;
      run_ = kRun;
      count_ = (total_ + kRun - 1) / kRun;
    }
  }

  RL_INLINE int64_t count() const { return count_; }
  RL_INLINE int64_t total() const { return total_; }
  RL_INLINE int64_t length(int64_t i) const { return dense_ && total_ - i * kRun < kRun ? total_ - i * kRun : run_; }
  template <class T>
  RL_INLINE T *at(const View &view, int64_t i) const {
    return view.as<T>() + i * (dense_ ? kRun : view.row_stride());
  }

 private:
  static constexpr int64_t kRun = 4096;
  static RL_INLINE bool is_dense(const View &v) { return v.rows() <= 1 || v.row_stride() == v.cols(); }

  int64_t total_, run_, count_;
  bool dense_ = false;
};

}  // namespace rl::cpu::RL_ISA
