#include "cpu/cpu_weight.h"

#include <omp.h>

#include <algorithm>
#include <cstring>

namespace rl::cpu {
namespace {

// Where element (k, n) of a matrix lies. Panels: pairs of k together for bf16.
template <class T>
struct Reader {
  explicit Reader(const Matrix &m) : data(static_cast<const T *>(m.data)), m(m), kp(padded_k(m.k, m.dtype)) {}
  T operator()(int64_t k, int64_t n) const {
    switch (m.layout) {
      case Layout::by_column:
        return data[n * m.k + k];
      case Layout::by_row:
        return data[k * m.n + n];
      default:
        if constexpr (sizeof(T) == 2) return data[n / kPanel * kPanel * kp + k / 2 * 2 * kPanel + n % kPanel * 2 + k % 2];
        return data[n / kPanel * kPanel * kp + k * kPanel + n % kPanel];
    }
  }
  const T *data;
  Matrix m;
  int64_t kp;
};

template <class T>
void fill(T *panels, const Matrix &b, int threads) {
  constexpr int64_t pair = sizeof(T) == 2 ? 2 : 1;
  const int64_t kp = padded_k(b.k, b.dtype), count = (b.n + kPanel - 1) / kPanel;
  const Reader<T> read(b);
#pragma omp parallel for schedule(static) num_threads(threads) if (b.k * b.n > 1 << 16)
  for (int64_t p = 0; p < count; p++) {
    T *out = panels + p * kPanel * kp;
    const int64_t width = std::min(kPanel, b.n - p * kPanel);
    // Blocks of the contraction, so that what is read and what is written both stay in the first-level cache.
    for (int64_t k0 = 0; k0 < kp; k0 += 32) {
      const int64_t k1 = std::min(k0 + 32, kp);
      if (width < kPanel || k1 > b.k) std::memset(out + k0 * kPanel, 0, static_cast<size_t>((k1 - k0) * kPanel) * sizeof(T));
      for (int64_t j = 0; j < width; j++) {
        for (int64_t k = k0; k < std::min(k1, b.k); k++) {
          out[k / pair * pair * kPanel + j * pair + k % pair] = read(k, p * kPanel + j);
        }
      }
    }
  }
}

int64_t padded_bytes(int64_t k, int64_t n, int32_t dtype) { return panels_size(k, n, dtype) * dtype_size(dtype); }

/// Bytes of the backward's pieces before the one that begins at row `from`.
int64_t backward_offset(int64_t from, int64_t k, int32_t dtype) {
  return from / kBackwardRows * padded_bytes(kBackwardRows, k, dtype);
}

int64_t backward_bytes(int64_t n, int64_t k, int32_t dtype) {
  const int64_t whole = n / kBackwardRows * kBackwardRows;
  return backward_offset(whole, k, dtype) + (n > whole ? padded_bytes(n - whole, k, dtype) : 0);
}

}  // namespace

void fill_panels(void *panels, const Matrix &plain, int threads) {
  if (plain.dtype == RL_BF16) {
    fill(static_cast<uint16_t *>(panels), plain, threads);
  } else {
    fill(static_cast<uint32_t *>(panels), plain, threads);
  }
}

CpuWeight::CpuWeight(CpuDevice &device, View w, bool packed, bool for_backward)
    : Weight(w.rows(), w.cols(), w.dtype), device_(device) {
  if (!packed) {
    plain_ = w.data;
    return;
  }
  forward_ = device.allocate(padded_bytes(k, n, dtype));
  fill_panels(forward_, {w.data, dtype, Layout::by_column, k, n}, device.threads());
  if (for_backward) {
    try {
      prepare_backward();
    } catch (...) {
      device.release(forward_, padded_bytes(k, n, dtype));
      throw;
    }
  }
}

CpuWeight::~CpuWeight() {
  if (forward_) device_.release(forward_, padded_bytes(k, n, dtype));
  if (backward_) device_.release(backward_, backward_bytes(n, k, dtype));
}

void CpuWeight::prepare_backward() const {
  void *made = device_.allocate(backward_bytes(n, k, dtype));
  for (int64_t from = 0; from < n; from += kBackwardRows) {
    // W[from:to] read from the forward's panels is a [k, to - from] matrix; its transpose is wanted: by_row and by_column
    // trade places, panels need the element-wise reader below.
    const int64_t to = std::min(from + kBackwardRows, n);
    char *out = static_cast<char *>(made) + backward_offset(from, k, dtype);
    const Matrix source = forward(from, to);
    const int64_t rows = to - from, rp = padded_k(rows, dtype), panels = (k + kPanel - 1) / kPanel;
    auto transpose = [&](auto *target) {
      using T = std::remove_pointer_t<decltype(target)>;
      constexpr int64_t pair = sizeof(T) == 2 ? 2 : 1;
      const Reader<T> read(source);
#pragma omp parallel for schedule(static) num_threads(device_.threads()) if (k * rows > 1 << 16)
      for (int64_t p = 0; p < panels; p++) {
        T *panel = target + p * kPanel * rp;
        const int64_t width = std::min(kPanel, k - p * kPanel);
        std::memset(panel, 0, static_cast<size_t>(kPanel * rp) * sizeof(T));
        for (int64_t r = 0; r < rows; r++) {
          for (int64_t j = 0; j < width; j++) panel[r / pair * pair * kPanel + j * pair + r % pair] = read(p * kPanel + j, r);
        }
      }
    };
    if (dtype == RL_BF16) {
      transpose(reinterpret_cast<uint16_t *>(out));
    } else {
      transpose(reinterpret_cast<uint32_t *>(out));
    }
  }
  backward_ = made;
}

Matrix CpuWeight::forward(int64_t from, int64_t to) const {
  const int64_t size = dtype_size(dtype);
  if (plain_) return {static_cast<const char *>(plain_) + from * k * size, dtype, Layout::by_column, k, to - from};
  return {static_cast<const char *>(forward_) + from * padded_k(k, dtype) * size, dtype, Layout::panels, k, to - from};
}

Matrix CpuWeight::backward(int64_t from, int64_t to) const {
  if (plain_) return {static_cast<const char *>(plain_) + from * k * dtype_size(dtype), dtype, Layout::by_row, to - from, k};
  if (!backward_) prepare_backward();
  return {static_cast<const char *>(backward_) + backward_offset(from, k, dtype), dtype, Layout::panels, to - from, k};
}

std::unique_ptr<Weight> CpuDevice::pack(View w, bool for_backward) {
  return std::make_unique<CpuWeight>(*this, w, true, for_backward);
}

std::unique_ptr<Weight> CpuDevice::view(View w) { return std::make_unique<CpuWeight>(*this, w, false, false); }

}  // namespace rl::cpu
