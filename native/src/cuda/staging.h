// Copies between the host's pageable memory and the device, through two pinned buffers in turn: while one is being copied by
// the GPU, the other is filled or emptied.
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
    CUevent done = nullptr;  // recorded after the last copy that uses the buffer
  };
  Buffer &next();

  const Driver &driver_;
  CUstream stream_;
  Buffer buffers_[2];
  int turn_ = 0;
};

}  // namespace rl::cuda
