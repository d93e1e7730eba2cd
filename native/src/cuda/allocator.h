// Device memory: blocks of a few rounded sizes that are kept when they come back. All work of a device runs on one stream, so
// a block may be given out again while the kernel that used it last is still in the queue.
#pragma once

#include <map>
#include <vector>

#include "cuda/driver.h"

namespace rl::cuda {

class Allocator {
 public:
  Allocator(const Driver &driver, CUstream stream) : driver_(driver), stream_(stream) {}
  ~Allocator() { free_cached(); }
  Allocator(const Allocator &) = delete;
  Allocator &operator=(const Allocator &) = delete;

  /// 256-byte aligned, uninitialised; throws RL_OUT_OF_MEMORY. `counted`: part of in_use(); peak() knows of the others, too.
  void *allocate(int64_t bytes, bool counted);
  void release(void *memory, int64_t bytes, bool counted) noexcept;
  /// From here on, what comes back is kept for a recording: its launches use the same blocks, and nobody else may.
  void begin_recording() { recording_ = true; }
  using Blocks = std::map<int64_t, std::vector<CUdeviceptr>>;  // by rounded size
  /// The recording's blocks, and how many others were allocated in it and have not come back.
  struct Pool {
    Blocks blocks;
    size_t lent = 0;
  };
  /// After the driver's end of it: what is still lent is so from here on.
  Pool end_recording();
  void take_back(Blocks &&blocks) noexcept;

  /// Gives back to the driver what nobody uses. The stream must be idle: cuMemFree waits for it anyway.
  void free_cached() noexcept;

  int64_t in_use() const { return in_use_; }
  int64_t peak() const { return peak_; }
  void reset_peak() { peak_ = in_use_ + scratch_; }
  int64_t reserved() const { return reserved_; }

 private:
  static int64_t rounded(int64_t bytes);
  static CUdeviceptr take(Blocks &blocks, int64_t size);  // 0: there is none
  void keep(Blocks &blocks, int64_t size, CUdeviceptr block) noexcept;

  const Driver &driver_;
  CUstream stream_;
  Blocks free_;
  bool recording_ = false;
  Blocks recorded_;                      // free, and the open recording's
  std::map<CUdeviceptr, size_t> noted_;  // lent since it began, with the bytes asked for
  int64_t in_use_ = 0, scratch_ = 0, peak_ = 0, reserved_ = 0;
};

}  // namespace rl::cuda
