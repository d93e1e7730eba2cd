// The memories as PTX sees them. Global memory is the emulator's, and only what the allocator gave out may be touched. Shared
// memory has a cell for each two bytes: whether anybody wrote them, and which warp touched them since the last barrier.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "emulator/block.h"

namespace rl::emulator::ptx {

// Generic addresses of the memories that have addresses of their own.
constexpr uint64_t kSharedWindow = uint64_t{1} << 60, kLocalWindow = uint64_t{2} << 60,
                   kParamWindow = uint64_t{3} << 60;
constexpr uint64_t kWindow = uint64_t{1} << 32;

class GlobalBlocks {
 public:
  void lend(const void *block, size_t bytes);
  /// Whether all bytes are of one block. Remembers the block for the next call.
  bool holds(uint64_t address, size_t bytes) {
    return (address >= begin_ && address + bytes <= end_) || find(address, bytes);
  }

 private:
  bool find(uint64_t address, size_t bytes);
  std::map<uint64_t, uint64_t> blocks_;  // begin, end
  uint64_t begin_ = 1, end_ = 0;
};
GlobalBlocks &global_blocks();

class SharedMemory {
 public:
  /// A new block's: nothing is lent.
  void clear(size_t bytes);
  void lend(size_t at, size_t bytes);
  void barrier() { epoch_++; }
  uint8_t *bytes() { return bytes_.data(); }
  /// What is wrong with an access, or null. Plain loads may read what nobody wrote: compilers load ahead of the condition that
  /// says whether the value is used. Such bytes are NaNs.
  const char *touch(uint64_t at, size_t bytes, Access kind, int warp, bool needs_values);
  const char *copy_starts(uint64_t at, size_t bytes, int warp);
  const char *copy_ends(uint64_t at, size_t bytes, int warp);

 private:
  // write: 0 nobody, kForeign outside of all arrays, else epoch and warp, kInFlight while cp.async copies here.
  // read: epoch and warp of the last reader, kMany for several.
  struct Cell {
    uint32_t write, read;
  };
  static constexpr uint32_t kForeign = 0xffffffff, kInFlight = 0x80000000, kMany = 0xff, kAtomic = 0xfe;
  uint32_t tag(int warp) const { return epoch_ << 8 | static_cast<uint32_t>(warp); }
  /// Touched by another warp since the last barrier.
  bool is_race(uint32_t seen, uint32_t mine) const { return seen >> 8 == epoch_ && seen != mine; }
  std::vector<uint8_t> bytes_;
  std::vector<Cell> cells_;
  uint32_t epoch_ = 1;
};
SharedMemory &shared();

}  // namespace rl::emulator::ptx
