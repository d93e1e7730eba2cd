// Language-model heads in double, from their definitions, with whole [T,V] matrices.
#pragma once

#include "support.h"

namespace rl::test {

using Doubles = std::vector<double>;

/// log softmax(x W^T / temperature) [T,V].
inline Doubles log_softmax(const Doubles &x, const Doubles &w, size_t h, double temperature) {
  const size_t rows = x.size() / h, v = w.size() / h;
  Doubles z(rows * v);
  for (size_t t = 0; t < rows; t++) {
    double largest = -1e300, sum = 0;
    for (size_t j = 0; j < v; j++) {
      double dot = 0;
      for (size_t i = 0; i < h; i++) dot += x[t * h + i] * w[j * h + i];
      z[t * v + j] = dot / temperature;
      largest = std::max(largest, z[t * v + j]);
    }
    for (size_t j = 0; j < v; j++) sum += std::exp(z[t * v + j] - largest);
    for (size_t j = 0; j < v; j++) z[t * v + j] -= largest + std::log(sum);
  }
  return z;
}

inline double log_sum_exp(const Doubles &x, const Doubles &w, size_t h, double temperature, size_t t) {
  // log softmax of column 0 is z_0 - lse.
  double dot = 0;
  for (size_t i = 0; i < h; i++) dot += x[t * h + i] * w[i];
  return dot / temperature - log_softmax(Doubles(x.begin() + static_cast<std::ptrdiff_t>(t * h),
                                                 x.begin() + static_cast<std::ptrdiff_t>((t + 1) * h)),
                                         w, h, temperature)[0];
}

struct HeadGradients {
  Floats x;
  Floats w;
};

/// gradX = dz W, gradW = start + dz^T x.
inline HeadGradients head_gradients(const Doubles &dz, const Doubles &x, const Doubles &w, size_t h, double start) {
  const size_t rows = x.size() / h, v = w.size() / h;
  Doubles gx(x.size()), gw(w.size(), start);
  for (size_t t = 0; t < rows; t++) {
    for (size_t j = 0; j < v; j++) {
      for (size_t i = 0; i < h; i++) {
        gx[t * h + i] += dz[t * v + j] * w[j * h + i];
        gw[j * h + i] += dz[t * v + j] * x[t * h + i];
      }
    }
  }
  return {Floats(gx.begin(), gx.end()), Floats(gw.begin(), gw.end())};
}

inline Ints random_ids(int64_t n, int64_t below, uint32_t seed) {
  std::mt19937 engine(seed);
  Ints ids(static_cast<size_t>(n));
  for (int32_t &id : ids) id = static_cast<int32_t>(engine() % static_cast<uint32_t>(below));
  return ids;
}

/// Rows, vocabulary, hidden: one row of two words; odd; several tiles of the vocabulary; several of rows; a GPU's tiles, filled
/// and not. Odd numbers of rows: the weight is a view, even ones: packed.
inline auto head_shapes() {
  return testing::Values(std::tuple(1, 2, 1), std::tuple(3, 37, 5), std::tuple(5, 4096 * 2 + 77, 12),
                         std::tuple(600, 130, 7), std::tuple(15, 97, 40), std::tuple(16, 64, 32),
                         std::tuple(17, 129, 72), std::tuple(65, 1003, 33), std::tuple(128, 256, 64),
                         std::tuple(129, 130, 65));
}

}  // namespace rl::test
