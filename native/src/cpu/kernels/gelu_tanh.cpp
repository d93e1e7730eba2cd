// y = gelu(x) * up, gelu(x) = x/2 (1 + tanh(u)) = x sigmoid(2u) with 2u = x (a + b x^2); without up, y = gelu(x).  y (=)
// With s = sigmoid(2u): gelu'(x) = s + x s (1 - s) (a + 3 b x^2);  gradX = gradY up gelu'(x), gradUp = gradY gelu(x).  Both (=).
#include "cpu/kernels/pieces.h"
#include "cpu/kernels/tile.h"

namespace rl::cpu::RL_ISA {
namespace {

constexpr float kA = 1.5957691216f, kB = 0.0713548163f;  // 2 sqrt(2/pi), and that times 0.044715

/// x^2, held where the sigmoid has long been 0 or 1, so that no product below is 0 * infinity.
RL_INLINE vecf bounded_square(vecf x) {
  const vecf square = x * x, most = broadcast(1e4f);
  return square < most ? square : most;
}
RL_INLINE float bounded_square(float x) { return x * x < 1e4f ? x * x : 1e4f; }

template <class V>
RL_INLINE V gelu(V x) {
  return x * sigmoid(x * (kA + kB * bounded_square(x)));
}

template <class V>
RL_INLINE V slope(V x) {
  const V square = bounded_square(x), s = sigmoid(x * (kA + kB * square));
  return s + x * s * (1.0f - s) * (kA + 3.0f * kB * square);
}

}  // namespace

void gelu_tanh(Device &device, View y, View x, View up) {
  const Pieces pieces(y, x, up ? up : x);
  with_float(y.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (pieces.total() > 16384)
    for (int64_t t = 0; t < pieces.count(); t++) {
      const T *in = pieces.at<T>(x, t);
      T *out = pieces.at<T>(y, t);
      const int64_t n = pieces.length(t);
      if (up) {
        const T *u = pieces.at<T>(up, t);
        for_row(
            out, n, [&](int64_t i) { return gelu(load(in + i)) * load(u + i); },
            [&](int64_t i) { return gelu(to_f32(in[i])) * to_f32(u[i]); });
      } else {
        for_row(out, n, [&](int64_t i) { return gelu(load(in + i)); }, [&](int64_t i) { return gelu(to_f32(in[i])); });
      }
    }
  });
}

void gelu_tanh_backward(Device &device, View gradX, View gradUp, View gradY, View x, View up) {
  const Pieces pieces(gradY, x, gradX, up ? up : x, up ? gradUp : x);
  with_float(gradY.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (pieces.total() > 16384)
    for (int64_t t = 0; t < pieces.count(); t++) {
      const T *in = pieces.at<T>(x, t), *gy = pieces.at<T>(gradY, t);
      T *gx = pieces.at<T>(gradX, t);
      const int64_t n = pieces.length(t);
      if (up) {
        const T *u = pieces.at<T>(up, t);
        for_row(
            gx, n, [&](int64_t i) { return load(gy + i) * load(u + i) * slope(load(in + i)); },
            [&](int64_t i) { return to_f32(gy[i]) * to_f32(u[i]) * slope(to_f32(in[i])); });
        for_row(
            pieces.at<T>(gradUp, t), n, [&](int64_t i) { return load(gy + i) * gelu(load(in + i)); },
            [&](int64_t i) { return to_f32(gy[i]) * gelu(to_f32(in[i])); });
      } else {
        for_row(
            gx, n, [&](int64_t i) { return load(gy + i) * slope(load(in + i)); },
            [&](int64_t i) { return to_f32(gy[i]) * slope(to_f32(in[i])); });
      }
    }
  });
}

}  // namespace rl::cpu::RL_ISA
