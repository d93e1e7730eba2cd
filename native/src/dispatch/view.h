// A checked tensor: the address of its first element, its dtype, shape and strides. What kernels get.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rlhf4j.h"

// Kernels take views on a GPU too.
#if defined(__CUDACC__)
#define RL_ANYWHERE __host__ __device__
#else
#define RL_ANYWHERE
#endif

namespace rl {

inline int64_t dtype_size(int32_t dtype) {
  switch (dtype) {
    case RL_F32:
    case RL_I32:
      return 4;
    case RL_BF16:
    case RL_F16:
      return 2;
    case RL_U8:
      return 1;
    default:
      return 0;
  }
}

struct View {
  void *data = nullptr;  // null: an optional tensor that was not given
  int32_t dtype = RL_F32;
  int32_t rank = 0;
  int64_t shape[RL_MAX_RANK] = {1, 1, 1, 1};   // 1 beyond the rank
  int64_t stride[RL_MAX_RANK] = {1, 1, 1, 1};  // in elements

  RL_ANYWHERE explicit operator bool() const { return data != nullptr; }

  RL_ANYWHERE int64_t elements() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
  RL_ANYWHERE int64_t rows() const { return shape[0]; }
  /// Elements of one row: all dimensions but the first, which are dense.
  RL_ANYWHERE int64_t cols() const { return shape[1] * shape[2] * shape[3]; }
  /// Elements from one row to the next.
  RL_ANYWHERE int64_t row_stride() const { return stride[0]; }

  RL_ANYWHERE float *f32() const { return static_cast<float *>(data); }
  RL_ANYWHERE uint16_t *bf16() const { return static_cast<uint16_t *>(data); }
  RL_ANYWHERE int32_t *i32() const { return static_cast<int32_t *>(data); }
  template <class T>
  RL_ANYWHERE T *as() const {
    return static_cast<T *>(data);
  }
  /// The first element of row `t`.
  template <class T>
  RL_ANYWHERE T *row(int64_t t) const {
    return static_cast<T *>(data) + t * stride[0];
  }
};

/// Columns [from, to) of a matrix.
inline View columns(View v, int64_t from, int64_t to) {
  v.data = static_cast<char *>(v.data) + from * dtype_size(v.dtype);
  v.shape[1] = to - from;
  return v;
}

}  // namespace rl
