#include "cpu/cpu_nf4.h"

#include <omp.h>

#include <cstring>

#include "cpu/cpu_weight.h"

namespace rl::cpu {
namespace {

int64_t total_rows(const Nf4 *parts, int32_t count) {
  int64_t rows = 0;
  for (int32_t i = 0; i < count; i++) rows += parts[i].rows;
  return rows;
}

/// Eight values as they are stored, two a byte and the first in the high half, to a word of a tile.
uint32_t word_of(const uint8_t *codes) {
  uint32_t in;
  std::memcpy(&in, codes, 4);
  auto gather = [](uint32_t nibbles) {  // the low halves of four bytes, side by side
    nibbles = (nibbles | nibbles >> 4) & 0x00ff00ffu;
    return (nibbles | nibbles >> 8) & 0xffffu;
  };
  return gather(in >> 4 & 0x0f0f0f0fu) | gather(in & 0x0f0f0f0fu) << 16;
}

constexpr uint32_t kZeros = 0x77777777u;  // code 7 is 0

}  // namespace

Nf4Matrix::Nf4Matrix(CpuDevice &device, const Nf4 *parts, int32_t count)
    : n(total_rows(parts, count)),
      k(parts[0].cols),
      tiled(k % kNf4Block == 0),
      doubled(parts[0].absmax.dtype == RL_U8),
      device_(device) {
  int64_t begin = 0, codes = 0, absmax = 0;
  for (int32_t i = 0; i < count; i++) {
    const Nf4 &p = parts[i];
    Part part{begin, begin + p.rows, codes, absmax, 0, 0, 0};
    if (doubled) {
      const float *code = p.nestedCode.f32(), *nested = p.nestedAbsmax.f32();
      part.nestedCode = static_cast<int64_t>(tables_.size());
      tables_.insert(tables_.end(), code, code + p.nestedCode.elements());
      part.nestedAbsmax = static_cast<int64_t>(tables_.size());
      tables_.insert(tables_.end(), nested, nested + p.nestedAbsmax.elements());
      part.offset = *p.offset.f32();
    }
    parts_.push_back(part);
    begin = part.end;
    codes += p.codes.elements();
    absmax += p.absmax.elements();
  }
  if (tiled) {
    const int64_t padded = (n + kPanel - 1) / kPanel * kPanel;
    codes = padded * k / 2;
    absmax = padded * (k / kNf4Block);
  }
  codes_bytes_ = (codes + 63) / 64 * 64;
  bytes_ = codes_bytes_ + absmax * (doubled ? 1 : 4);
  memory_ = static_cast<uint8_t *>(device.allocate(bytes_));
  if (tiled) {
    fill_tiles(parts, device.threads());
    return;
  }
  for (int32_t i = 0; i < count; i++) {
    const View &from = parts[i].codes, &scales = parts[i].absmax;
    const int64_t size = doubled ? 1 : 4;
    std::memcpy(memory_ + parts_[i].codes, from.data, static_cast<size_t>(from.elements()));
    std::memcpy(memory_ + codes_bytes_ + parts_[i].absmax * size, scales.data,
                static_cast<size_t>(scales.elements() * size));
  }
}

Nf4Matrix::~Nf4Matrix() { device_.release(memory_, bytes_); }

void Nf4Matrix::fill_tiles(const Nf4 *parts, int threads) {
  const int64_t panels = (n + kPanel - 1) / kPanel, blocks = k / kNf4Block;
  const size_t size = doubled ? 1 : 4;
  uint32_t *words = reinterpret_cast<uint32_t *>(memory_);
  uint8_t *absmax = memory_ + codes_bytes_;
#pragma omp parallel for schedule(static) num_threads(threads) if (n * k > 1 << 16)
  for (int64_t p = 0; p < panels; p++) {
    size_t part = 0;
    for (int64_t j = 0; j < kPanel; j++) {
      const int64_t row = p * kPanel + j;
      while (row < n && row >= parts_[part].end) part++;
      const int64_t local = row < n ? row - parts_[part].begin : 0;
      const uint8_t *codes = parts[part].codes.as<uint8_t>() + local * k / 2;
      const uint8_t *scales = parts[part].absmax.as<uint8_t>() + static_cast<size_t>(local * blocks) * size;
      for (int64_t b = 0; b < blocks; b++) {
        uint32_t *tile = words + (p * blocks + b) * 8 * kPanel + j;
        for (int64_t g = 0; g < 8; g++) tile[g * kPanel] = row < n ? word_of(codes + b * 32 + g * 4) : kZeros;
        uint8_t *scale = absmax + static_cast<size_t>((p * blocks + b) * kPanel + j) * size;
        if (row < n) {
          std::memcpy(scale, scales + static_cast<size_t>(b) * size, size);
        } else {
          std::memset(scale, 0, size);
        }
      }
    }
  }
}

}  // namespace rl::cpu
