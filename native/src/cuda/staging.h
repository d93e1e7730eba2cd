// Copies between the host's pageable memory and the device, through two pinned buffers in turn: while one is being copied by
// the GPU, the other is filled or emptied. Small copies lie side by side in a buffer, so that a step's many little inputs do not
// wait for each other, nor the host for the device.
#pragma once

#include "cuda/driver.h"

namespace rl::cuda {

class Staging {
 public:
  Staging(const Driver &driver, CUstream stream);
  ~Staging();
  Staging(const Staging &) = delete;
  Staging &operator=(const Staging &) = delete;

  /// Returns when `src` has been read; the copy itself may still be in the stream's queue.
  void to_device(void *dst, const void *src, int64_t bytes);
  /// Returns when dst is complete.
  void to_host(void *dst, const void *src, int64_t bytes);

 private:
  static constexpr int64_t kBytes = int64_t{4} << 20;
  struct Buffer {
    char *memory = nullptr;
    int64_t used = 0;
    CUevent done = nullptr;  // recorded after the last copy that uses the buffer
  };
  /// A place in a pinned buffer, for as much of `bytes` as fits there.
  struct Place {
    Buffer &buffer;
    char *memory;
    int64_t bytes;
  };
  Place place(int64_t bytes);
  void queued(const Place &place);

  const Driver &driver_;
  CUstream stream_;
  Buffer buffers_[2];
  int turn_ = 0;
};

}  // namespace rl::cuda
