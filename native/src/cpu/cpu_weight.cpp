#include "cpu/cpu_weight.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <utility>

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

int64_t padded_bytes(int64_t k, int64_t n, int32_t dtype) { return panels_size(k, n, dtype) * dtype_size(dtype); }

}  // namespace

void fill_panels(void *panels, const Matrix &plain, int threads) {
  if (plain.dtype == RL_BF16) {
    fill<uint16_t>(static_cast<uint32_t *>(panels), plain, threads);
  } else {
    fill<uint32_t>(static_cast<uint32_t *>(panels), plain, threads);
  }
}

CpuWeight::CpuWeight(CpuDevice &device, View w, bool packed) : Weight(w.rows(), w.cols(), w.dtype), device_(device) {
  if (!packed) {
    plain_ = w.data;
    return;
  }
  panels_ = device.allocate(padded_bytes(k, n, dtype));
  fill_panels(panels_, {w.data, dtype, Layout::by_column, k, n}, device.threads());
}

CpuWeight::CpuWeight(CpuDevice &device, std::unique_ptr<const Nf4Matrix> nf4, int32_t dtype)
    : Weight(nf4->n, nf4->k, dtype), device_(device), nf4_(std::move(nf4)) {}

CpuWeight::~CpuWeight() {
  if (panels_) device_.release(panels_, padded_bytes(k, n, dtype));
}

Matrix CpuWeight::forward(int64_t from, int64_t to) const {
  if (nf4_) return {nf4_.get(), dtype, Layout::nf4, k, to - from, from};
  const int64_t size = dtype_size(dtype);
  if (plain_) return {static_cast<const char *>(plain_) + from * k * size, dtype, Layout::by_column, k, to - from};
  return {static_cast<const char *>(panels_) + from * padded_k(k, dtype) * size, dtype, Layout::panels, k, to - from};
}

Matrix CpuWeight::backward(int64_t from, int64_t to) const {
  if (nf4_) return {nf4_.get(), dtype, Layout::nf4_by_row, to - from, k, from};
  if (plain_)
    return {static_cast<const char *>(plain_) + from * k * dtype_size(dtype), dtype, Layout::by_row, to - from, k};
  Matrix b = forward(from, to);
  std::swap(b.k, b.n);
  b.layout = Layout::panels_by_row;
  return b;
}

std::unique_ptr<Weight> CpuDevice::pack(View w, bool /*for_backward*/) {
  return std::make_unique<CpuWeight>(*this, w, true);
}

std::unique_ptr<Weight> CpuDevice::view(View w) { return std::make_unique<CpuWeight>(*this, w, false); }

std::unique_ptr<Weight> CpuDevice::pack_nf4(const Nf4 *parts, int32_t count, int32_t dtype) {
  return std::make_unique<CpuWeight>(*this, std::make_unique<Nf4Matrix>(*this, parts, count), dtype);
}

}  // namespace rl::cpu
