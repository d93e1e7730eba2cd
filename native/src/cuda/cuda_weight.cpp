#include "cuda/cuda_weight.h"

#include "cuda/grids.h"

namespace rl::cuda {
namespace {

constexpr int kThreads = 256;  // kernels/nf4.cu
constexpr int64_t kTilesABlock = 32;

int64_t total_rows(const Nf4 *parts, int32_t count) {
  int64_t rows = 0;
  for (int32_t i = 0; i < count; i++) rows += parts[i].rows;
  return rows;
}

/// Pieces of one allocation, one after the other; a first pass with no memory counts the bytes.
class Pieces {
 public:
  explicit Pieces(void *memory) : memory_(static_cast<uint8_t *>(memory)) {}
  template <class T>
  T *next(int64_t count) {
    T *piece = reinterpret_cast<T *>(memory_ + bytes_);
    bytes_ += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return piece;
  }
  int64_t bytes() const { return bytes_; }

 private:
  uint8_t *memory_;
  int64_t bytes_ = 0;
};

}  // namespace

Nf4Part as_part(const Nf4 &x, int64_t begin) {
  return {begin,         begin + x.rows, x.codes.as<uint8_t>(), x.absmax.data, x.nestedCode.f32(), x.nestedAbsmax.f32(),
          x.offset.f32()};
}

CudaWeight::CudaWeight(CudaDevice &device, View w, bool packed)
    : Weight(w.rows(), w.cols(), w.dtype), device_(device), matrix_(w) {
  if (!packed) return;
  bytes_ = n * k * dtype_size(dtype);
  matrix_.data = owned_ = device.allocate(bytes_);
  device.copy_on_device(owned_, w.data, bytes_);
}

CudaWeight::CudaWeight(CudaDevice &device, const Nf4 *parts, int32_t count, int32_t dtype)
    : Weight(total_rows(parts, count), parts[0].cols, dtype), device_(device) {
  const bool tiled = k % kNf4Block == 0, doubled = parts[0].absmax.dtype == RL_U8;
  const int64_t padded = (n + kNf4Rows - 1) / kNf4Rows * kNf4Rows;
  auto copy = [&](bool allocated, const float *from, int64_t elements, Pieces &pieces) {
    float *to = pieces.next<float>(elements);
    if (allocated) device.copy_on_device(to, from, elements * 4);
    return to;
  };
  // First how many bytes, then where what lies.
  for (bool allocated : {false, true}) {
    Pieces pieces(owned_);
    Nf4Part *table = pieces.next<Nf4Part>(count);
    uint8_t *codes = tiled ? pieces.next<uint8_t>(padded * k / 2) : nullptr;
    uint8_t *absmax = tiled ? pieces.next<uint8_t>(padded * (k / kNf4Block) * (doubled ? 1 : 4)) : nullptr;
    parts_.clear();
    int64_t begin = 0;
    for (int32_t i = 0; i < count; i++) {
      const Nf4 &x = parts[i];
      Nf4Part part = as_part(x, begin);
      if (doubled) {
        part.nestedCode = copy(allocated, part.nestedCode, x.nestedCode.elements(), pieces);
        part.nestedAbsmax = copy(allocated, part.nestedAbsmax, x.nestedAbsmax.elements(), pieces);
        part.offset = copy(allocated, part.offset, 1, pieces);
      }
      if (tiled && allocated) {
        const int64_t rows = i + 1 < count ? x.rows : padded - begin;
        device.launch("nf4_pack", by_element(rows * (k / 16), kThreads), codes, static_cast<void *>(absmax), part,
                      static_cast<int32_t>(doubled), k, rows);
      }
      uint8_t *own_codes = tiled ? nullptr : pieces.next<uint8_t>(x.codes.elements());
      uint8_t *own_absmax = tiled ? nullptr : pieces.next<uint8_t>(x.absmax.elements() * (doubled ? 1 : 4));
      if (!tiled && allocated) {
        device.copy_on_device(own_codes, part.codes, x.codes.elements());
        device.copy_on_device(own_absmax, part.absmax, x.absmax.elements() * (doubled ? 1 : 4));
      }
      part.codes = own_codes;
      part.absmax = own_absmax;
      parts_.push_back(part);
      begin = part.end;
    }
    if (!allocated) {
      bytes_ = pieces.bytes();
      owned_ = device.allocate(bytes_);
      continue;
    }
    device.copy_from_host(table, parts_.data(), count * static_cast<int64_t>(sizeof(Nf4Part)));
    nf4_ = {n, k, codes, absmax, table, static_cast<int32_t>(tiled), static_cast<int32_t>(doubled)};
  }
}

CudaWeight::~CudaWeight() {
  if (owned_) device_.release(owned_, bytes_);
}

View CudaWeight::rows(int64_t from, int64_t to) const {
  if (nf4()) return dequantised(from, to);
  View some = matrix_;
  some.data = matrix_.as<uint8_t>() + from * k * dtype_size(dtype);
  some.shape[0] = to - from;
  return some;
}

View CudaWeight::dequantised(int64_t from, int64_t to) const {
  uint8_t *out = device_.scratch<uint8_t>((to - from) * k * dtype_size(dtype));
  View dense;
  dense.data = out;
  dense.dtype = dtype;
  dense.rank = 2;
  dense.shape[0] = to - from;
  dense.shape[1] = dense.stride[0] = k;
  if (nf4_.tiled) {
    // Tiles hold 16 rows: those ahead of `from` in its tile are not asked for.
    const int64_t tiles = (ceil_div(to, kNf4Rows) - from / kNf4Rows) * (k / kNf4Block);
    device_.launch(kernel_name("nf4_dequantize_tiles", {dtype}), Grid{ceil_div(tiles, kTilesABlock), 1, kThreads},
                   static_cast<void *>(out), nf4_, from, to);
    return dense;
  }
  for (const Nf4Part &part : parts_) {
    const int64_t begin = from > part.begin ? from : part.begin, end = smaller(to, part.end);
    if (begin >= end) continue;
    device_.launch(kernel_name("nf4_dequantize", {dtype}), by_element((end - begin) * k, kThreads),
                   static_cast<void *>(out + (begin - from) * k * dtype_size(dtype)), part,
                   static_cast<int32_t>(nf4_.doubled), (begin - part.begin) * k, (end - begin) * k);
  }
  return dense;
}

}  // namespace rl::cuda
