// A frozen matrix W [n,k] in NF4 as the CPU's products read it: one copy of the codes serves both directions.
//
// Where k is a multiple of 64 a block of 64 values lies within a row, and the codes lie in tiles of 64 rows by 64 columns,
//   words[row / 64][column / 64][column % 64 / 8][row % 64],
// a word being eight columns: the even ones in its low half, the odd ones in its high half, the first lowest. A vector of
// words is so many neighbouring rows; shifted right by 0, 4, 8, 12 bits its halves begin with the codes of two neighbouring
// columns, the pairs that bf16 dot products take. absmax lies as [row / 64][column / 64][row % 64]. Rows of padding are zeros.
// Otherwise blocks cross rows, and the parts lie one after the other as they came.
#pragma once

#include <vector>

#include "cpu/cpu_device.h"
#include "dispatch/nf4.h"

namespace rl::cpu {

class Nf4Matrix {
 public:
  /// Rows [begin, end) came with tables of their own.
  struct Part {
    int64_t begin;
    int64_t end;
    int64_t codes;         // where its codes begin in codes(), if not tiled: bytes
    int64_t absmax;        // where its absmax begin in absmax(), if not tiled: elements
    int64_t nestedCode;    // in tables
    int64_t nestedAbsmax;  // in tables
    float offset;
  };

  Nf4Matrix(CpuDevice &device, const Nf4 *parts, int32_t count);
  ~Nf4Matrix();
  Nf4Matrix(const Nf4Matrix &) = delete;
  Nf4Matrix &operator=(const Nf4Matrix &) = delete;

  const uint8_t *codes() const { return memory_; }
  const uint32_t *words() const { return reinterpret_cast<const uint32_t *>(memory_); }
  /// f32, or u8 where doubled.
  const void *absmax() const { return memory_ + codes_bytes_; }
  const float *tables() const { return tables_.data(); }
  const Part *parts() const { return parts_.data(); }
  int64_t part_count() const { return static_cast<int64_t>(parts_.size()); }

  const int64_t n;
  const int64_t k;
  const bool tiled;
  const bool doubled;

 private:
  void fill_tiles(const Nf4 *parts, int threads);

  CpuDevice &device_;
  uint8_t *memory_ = nullptr;
  int64_t codes_bytes_ = 0, bytes_ = 0;
  std::vector<Part> parts_;
  std::vector<float> tables_;  // doubled: each part's nestedCode and nestedAbsmax
};

}  // namespace rl::cpu
