#include "cpu/cpu_weight.h"

#include <omp.h>

#include <algorithm>
#include <cstring>

namespace rl::cpu {
namespace {

// A step of the contraction in panels holds one element of f32, or two of bf16: a word of 32 bits either way, so panels
// are filled by words. Plain matrices whose k runs in memory (by_column) have those words ready.
template <class T>
constexpr int64_t kStep = sizeof(T) == 2 ? 2 : 1;

uint32_t word_of(const uint32_t *at) { return *at; }
uint32_t word_of(const uint16_t *at) {
  uint32_t word;
  std::memcpy(&word, at, 4);
  return word;
}
uint32_t join(uint32_t low, uint32_t) { return low; }
uint32_t join(uint16_t low, uint16_t high) { return low | static_cast<uint32_t>(high) << 16; }

template <class T>
void fill(uint32_t *panels, const Matrix &b, int threads) {
  constexpr int64_t step = kStep<T>, block = 16;
  const T *data = static_cast<const T *>(b.data);
  const int64_t steps = padded_k(b.k, b.dtype) / step, whole = b.k / step, count = (b.n + kPanel - 1) / kPanel;
#pragma omp parallel for schedule(static) num_threads(threads) if (b.k * b.n > 1 << 16)
  for (int64_t p = 0; p < count; p++) {
    uint32_t *out = panels + p * kPanel * steps;
    const int64_t width = std::min(kPanel, b.n - p * kPanel);
    if (width < kPanel || whole < steps) std::memset(out, 0, static_cast<size_t>(steps * kPanel) * 4);
    if (b.layout == Layout::by_column) {
      // Blocks of the contraction, so that what is read and what is written both stay in the first-level cache.
      for (int64_t s0 = 0; s0 < whole; s0 += block) {
        const int64_t s1 = std::min(s0 + block, whole);
        for (int64_t j = 0; j < width; j++) {
          const T *row = data + (p * kPanel + j) * b.k;
          for (int64_t s = s0; s < s1; s++) out[s * kPanel + j] = word_of(row + s * step);
        }
      }
      if (whole * step < b.k) {
        for (int64_t j = 0; j < width; j++)
          out[whole * kPanel + j] = join(data[(p * kPanel + j) * b.k + b.k - 1], T{0});
      }
    } else {
      for (int64_t s = 0; s * step < b.k; s++) {
        const T *low = data + s * step * b.n + p * kPanel;
        const bool pair = s * step + step <= b.k;
        for (int64_t j = 0; j < width; j++) out[s * kPanel + j] = join(low[j], pair && step == 2 ? low[b.n + j] : T{0});
      }
    }
  }
}

/// The panels of B^T [n,k] from those of B [k,n]: padding is zero in both, so whole panels turn.
void turn(uint32_t *out, const uint32_t *in, int64_t k, int64_t n, int32_t dtype, int threads) {
  const int64_t kp = padded_k(k, dtype), np = padded_k(n, dtype), count = (k + kPanel - 1) / kPanel;
  const int64_t step = dtype == RL_BF16 ? 2 : 1, panel = kp / step * kPanel;  // words of one of B's panels
#pragma omp parallel for schedule(static) num_threads(threads) if (k * n > 1 << 16)
  for (int64_t p = 0; p < count; p++) {
    uint32_t *target = out + p * kPanel * (np / step);
    const int64_t width = std::min(kPanel, kp - p * kPanel);
    if (width < kPanel) std::memset(target, 0, static_cast<size_t>(np / step * kPanel) * 4);
    for (int64_t i = 0; i < np; i += step) {
      const uint32_t *source = in + i / kPanel * panel + p * kPanel / step * kPanel + i % kPanel;
      uint32_t *row = target + i / step * kPanel;
      if (step == 1) {
        for (int64_t j = 0; j < width; j++) row[j] = source[j * kPanel];
        continue;
      }
      for (int64_t j = 0; j < width; j += 2) {  // columns i, i+1 by steps j, j+1: a square of four numbers
        const uint32_t a = source[j / 2 * kPanel], b = source[j / 2 * kPanel + 1];
        row[j] = (a & 0xffffu) | b << 16;
        row[j + 1] = a >> 16 | (b & 0xffff0000u);
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
    fill<uint16_t>(static_cast<uint32_t *>(panels), plain, threads);
  } else {
    fill<uint32_t>(static_cast<uint32_t *>(panels), plain, threads);
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

CpuWeight::CpuWeight(CpuDevice &device, std::unique_ptr<const Nf4Matrix> nf4, int32_t dtype)
    : Weight(nf4->n, nf4->k, dtype), device_(device), nf4_(std::move(nf4)) {}

CpuWeight::~CpuWeight() {
  if (forward_) device_.release(forward_, padded_bytes(k, n, dtype));
  if (backward_) device_.release(backward_, backward_bytes(n, k, dtype));
}

void CpuWeight::prepare_backward() const {
  void *made = device_.allocate(backward_bytes(n, k, dtype));
  for (int64_t from = 0; from < n; from += kBackwardRows) {
    const Matrix source = forward(from, std::min(from + kBackwardRows, n));
    turn(reinterpret_cast<uint32_t *>(static_cast<char *>(made) + backward_offset(from, k, dtype)),
         static_cast<const uint32_t *>(source.data), k, source.n, dtype, device_.threads());
  }
  backward_ = made;
}

Matrix CpuWeight::forward(int64_t from, int64_t to) const {
  if (nf4_) return {nf4_.get(), dtype, Layout::nf4, k, to - from, from};
  const int64_t size = dtype_size(dtype);
  if (plain_) return {static_cast<const char *>(plain_) + from * k * size, dtype, Layout::by_column, k, to - from};
  return {static_cast<const char *>(forward_) + from * padded_k(k, dtype) * size, dtype, Layout::panels, k, to - from};
}

Matrix CpuWeight::backward(int64_t from, int64_t to) const {
  if (nf4_) return {nf4_.get(), dtype, Layout::nf4_by_row, to - from, k, from};
  if (plain_)
    return {static_cast<const char *>(plain_) + from * k * dtype_size(dtype), dtype, Layout::by_row, to - from, k};
  if (!backward_) prepare_backward();
  return {static_cast<const char *>(backward_) + backward_offset(from, k, dtype), dtype, Layout::panels, to - from, k};
}

std::unique_ptr<Weight> CpuDevice::pack(View w, bool for_backward) {
  return std::make_unique<CpuWeight>(*this, w, true, for_backward);
}

std::unique_ptr<Weight> CpuDevice::view(View w) { return std::make_unique<CpuWeight>(*this, w, false, false); }

std::unique_ptr<Weight> CpuDevice::pack_nf4(const Nf4 *parts, int32_t count, int32_t dtype) {
  return std::make_unique<CpuWeight>(*this, std::make_unique<Nf4Matrix>(*this, parts, count), dtype);
}

}  // namespace rl::cpu
