// What the native tests share: a device per instruction set, tensors filled from host vectors, comparison, and gradients by
// central differences.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "rlhf4j.h"

namespace rl::test {

using Floats = std::vector<float>;
using Ints = std::vector<int32_t>;

#define RL_CHECK(call) ASSERT_EQ(call, RL_OK) << rl_last_error()

inline float bf16_to_f32(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float x;
  std::memcpy(&x, &wide, 4);
  return x;
}

inline uint16_t f32_to_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float f16_to_f32(uint16_t bits) {
  _Float16 h;
  std::memcpy(&h, &bits, 2);
  return static_cast<float>(h);
}

inline uint16_t f32_to_f16(float x) {
  const _Float16 h = static_cast<_Float16>(x);
  uint16_t bits;
  std::memcpy(&bits, &h, 2);
  return bits;
}

/// How a dtype of 16 bits stores a number.
inline bool is_16_bits(int32_t dtype) { return dtype == RL_BF16 || dtype == RL_F16; }
inline uint16_t stored(float x, int32_t dtype) { return dtype == RL_F16 ? f32_to_f16(x) : f32_to_bf16(x); }
inline float number(uint16_t bits, int32_t dtype) { return dtype == RL_F16 ? f16_to_f32(bits) : bf16_to_f32(bits); }

/// The backend that the process tests: RLHF4J_TEST_DEVICE, or the CPU.
inline const char *backend() {
  const char *named = std::getenv("RLHF4J_TEST_DEVICE");
  return named && *named ? named : "cpu";
}

/// An emulated GPU takes a thousand times as long: for tests that choose lighter cases there.
inline bool emulated() { return std::string(backend()).starts_with("emulated"); }

/// The process's device. RLHF4J_CPU_ISA picks the CPU's kernels, so ctest runs every test once per instruction set.
inline rl_device &device() {
  static rl_device handle = [] {
    rl_device d = 0;
    EXPECT_EQ(rl_device_open(&d, backend(), 0, 2), RL_OK) << rl_last_error();
    return d;
  }();
  return handle;
}

inline int64_t count(const std::vector<int64_t> &shape) {
  int64_t n = 1;
  for (int64_t s : shape) n *= s;
  return n;
}

/// A device tensor that owns its buffer. Converts to `const rl_tensor *`.
class Tensor {
 public:
  Tensor(std::vector<int64_t> shape, int32_t dtype = RL_F32) {
    t_.dtype = dtype;
    t_.rank = static_cast<int32_t>(shape.size());
    int64_t stride = 1;
    for (int i = t_.rank - 1; i >= 0; i--) {
      t_.shape[i] = shape[static_cast<size_t>(i)];
      t_.stride[i] = stride;
      stride *= t_.shape[i];
    }
    elements_ = stride;
    const int64_t size = is_16_bits(dtype) ? 2 : dtype == RL_U8 ? 1 : 4;
    bytes_ = elements_ * size;
    EXPECT_EQ(rl_buffer_alloc(&t_.buffer, device(), bytes_), RL_OK) << rl_last_error();
  }
  Tensor(std::vector<int64_t> shape, const Floats &values, int32_t dtype = RL_F32) : Tensor(std::move(shape), dtype) {
    set(values);
  }
  Tensor(std::vector<int64_t> shape, const Ints &values) : Tensor(std::move(shape), RL_I32) {
    EXPECT_EQ(static_cast<int64_t>(values.size()), elements_);
    EXPECT_EQ(rl_copy_from_host(&t_, values.data(), bytes_), RL_OK) << rl_last_error();
  }
  ~Tensor() { rl_buffer_free(t_.buffer); }
  Tensor(const Tensor &) = delete;
  Tensor &operator=(const Tensor &) = delete;

  operator const rl_tensor *() const { return &t_; }
  rl_tensor &raw() { return t_; }

  void set(const Floats &values) {
    ASSERT_EQ(static_cast<int64_t>(values.size()), elements_);
    if (is_16_bits(t_.dtype)) {
      std::vector<uint16_t> bits(values.size());
      for (size_t i = 0; i < values.size(); i++) bits[i] = stored(values[i], t_.dtype);
      RL_CHECK(rl_copy_from_host(&t_, bits.data(), bytes_));
    } else {
      RL_CHECK(rl_copy_from_host(&t_, values.data(), bytes_));
    }
  }

  Floats get() const {
    Floats values(static_cast<size_t>(elements_));
    if (is_16_bits(t_.dtype)) {
      std::vector<uint16_t> bits(values.size());
      EXPECT_EQ(rl_copy_to_host(bits.data(), &t_, bytes_), RL_OK) << rl_last_error();
      for (size_t i = 0; i < values.size(); i++) values[i] = number(bits[i], t_.dtype);
    } else {
      EXPECT_EQ(rl_copy_to_host(values.data(), &t_, bytes_), RL_OK) << rl_last_error();
    }
    return values;
  }

  Ints get_ints() const {
    Ints values(static_cast<size_t>(elements_));
    EXPECT_EQ(rl_copy_to_host(values.data(), &t_, bytes_), RL_OK) << rl_last_error();
    return values;
  }

 private:
  rl_tensor t_{};
  int64_t elements_ = 0, bytes_ = 0;
};

/// A weight handle of a test's own.
class WeightHandle {
 public:
  WeightHandle(const Tensor &w, bool packed, bool for_backward = false) {
    const rl_status status = packed ? rl_weight_pack(&handle_, w, for_backward) : rl_weight_view(&handle_, w);
    EXPECT_EQ(status, RL_OK) << rl_last_error();
  }
  ~WeightHandle() { rl_weight_free(handle_); }
  WeightHandle(const WeightHandle &) = delete;
  WeightHandle &operator=(const WeightHandle &) = delete;
  operator rl_weight() const { return handle_; }

 private:
  rl_weight handle_ = 0;
};

/// A view of `shape` whose rows are columns of a wider matrix: it starts at column `from` and keeps the matrix's row stride.
inline rl_tensor columns(const rl_tensor *matrix, int64_t from, const std::vector<int64_t> &shape) {
  rl_tensor view = *matrix;
  view.offset += from * (is_16_bits(view.dtype) ? 2 : view.dtype == RL_U8 ? 1 : 4);
  view.rank = static_cast<int32_t>(shape.size());
  int64_t stride = 1;
  for (int i = view.rank - 1; i >= 0; i--) {
    view.shape[i] = shape[static_cast<size_t>(i)];
    view.stride[i] = i == 0 ? matrix->stride[0] : stride;
    stride *= view.shape[i];
  }
  return view;
}

/// Columns from .. from + n of a dense [rows, width] matrix.
inline Floats slice(const Floats &matrix, int64_t width, int64_t from, int64_t n) {
  Floats out;
  for (size_t row = 0; row < matrix.size(); row += static_cast<size_t>(width)) {
    for (int64_t i = 0; i < n; i++) out.push_back(matrix[row + static_cast<size_t>(from + i)]);
  }
  return out;
}

/// Normal numbers, rounded to the dtype of the tensor they are for: then the reference sees what the kernel sees.
inline Floats random_floats(int64_t n, uint32_t seed, int32_t dtype = RL_F32, float scale = 1) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0, scale);
  Floats values(static_cast<size_t>(n));
  for (float &v : values) {
    v = normal(engine);
    if (is_16_bits(dtype)) v = number(stored(v, dtype), dtype);
  }
  return values;
}

/// |got - want| <= atol + rtol |want| everywhere.
inline void expect_close(const Floats &got, const Floats &want, double atol, double rtol, const std::string &what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < got.size(); i++) {
    const double error = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    ASSERT_TRUE(error <= atol + rtol * std::abs(static_cast<double>(want[i])))
        << what << "[" << i << "]: got " << got[i] << ", want " << want[i];
  }
}

/// bf16: |got - want| <= 2e-2 of the largest |want|, the golden set's rule. f16, which has three bits more: an eighth of that.
/// f32: 1e-5 + 1e-4 |want|; gradients ten times that.
inline void expect_matches(const Floats &got, const Floats &want, int32_t dtype, const std::string &what,
                           bool gradient = false) {
  if (is_16_bits(dtype)) {
    double largest = 0;
    for (float w : want) largest = std::max(largest, std::abs(static_cast<double>(w)));
    expect_close(got, want, (dtype == RL_F16 ? 2.5e-3 : 2e-2) * largest + 1e-30, 0, what);
  } else {
    expect_close(got, want, gradient ? 1e-4 : 1e-5, gradient ? 1e-3 : 1e-4, what);
  }
}

/// d f / d x by central differences in double, for a reference f written in double: the ground truth of every backward.
inline Floats central_differences(std::vector<double> x, const std::function<double(const std::vector<double> &)> &f,
                                  double step = 1e-5) {
  Floats gradient(x.size());
  for (size_t i = 0; i < x.size(); i++) {
    const double kept = x[i];
    x[i] = kept + step;
    const double up = f(x);
    x[i] = kept - step;
    const double down = f(x);
    x[i] = kept;
    gradient[i] = static_cast<float>((up - down) / (2 * step));
  }
  return gradient;
}

inline Floats floats(const std::vector<double> &x) {
  Floats out;
  for (double v : x) out.push_back(static_cast<float>(v));
  return out;
}

inline std::vector<double> doubles(const Floats &x) { return {x.begin(), x.end()}; }

/// The call fails with `status`, and its text holds every one of `parts`.
inline void expect_error(rl_status got, rl_status status, const std::vector<std::string> &parts) {
  EXPECT_EQ(got, status);
  const std::string text = rl_last_error();
  for (const std::string &part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << "'" << text << "' lacks '" << part << "'";
}

}  // namespace rl::test
