#include "cuda/staging.h"

#include <cstring>

namespace rl::cuda {

Staging::Staging(const Driver &driver, CUstream stream) : driver_(driver), stream_(stream) {
  for (Buffer &buffer : buffers_) {
    void *memory = nullptr;
    driver_.check(driver_.cuMemHostAlloc(&memory, static_cast<size_t>(kBytes), 0), "cuMemHostAlloc");
    buffer.memory = static_cast<char *>(memory);
    driver_.check(driver_.cuEventCreate(&buffer.done, CU_EVENT_DISABLE_TIMING), "cuEventCreate");
  }
}

Staging::~Staging() {
  for (Buffer &buffer : buffers_) {
    if (buffer.done) driver_.cuEventDestroy(buffer.done);
    if (buffer.memory) driver_.cuMemFreeHost(buffer.memory);
  }
}

Staging::Buffer &Staging::next() {
  turn_ ^= 1;
  return buffers_[turn_];
}

void Staging::to_device(void *dst, const void *src, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += kBytes) {
    const size_t part = static_cast<size_t>(bytes - at < kBytes ? bytes - at : kBytes);
    Buffer &buffer = next();
    driver_.check(driver_.cuEventSynchronize(buffer.done), "cuEventSynchronize");
    std::memcpy(buffer.memory, static_cast<const char *>(src) + at, part);
    driver_.check(driver_.cuMemcpyHtoDAsync(reinterpret_cast<CUdeviceptr>(dst) + static_cast<size_t>(at), buffer.memory,
                                            part, stream_),
                  "cuMemcpyHtoDAsync");
    driver_.check(driver_.cuEventRecord(buffer.done, stream_), "cuEventRecord");
  }
}

void Staging::to_host(void *dst, const void *src, int64_t bytes) {
  // Piece i is queued before piece i - 1 is waited for.
  Buffer *before = nullptr;
  size_t before_size = 0;
  int64_t before_at = 0;
  auto finish = [&] {
    if (!before) return;
    driver_.check(driver_.cuEventSynchronize(before->done), "cuEventSynchronize");
    std::memcpy(static_cast<char *>(dst) + before_at, before->memory, before_size);
  };
  for (int64_t at = 0; at < bytes; at += kBytes) {
    const size_t part = static_cast<size_t>(bytes - at < kBytes ? bytes - at : kBytes);
    Buffer &buffer = next();
    driver_.check(driver_.cuEventSynchronize(buffer.done), "cuEventSynchronize");
    driver_.check(driver_.cuMemcpyDtoHAsync(buffer.memory, reinterpret_cast<CUdeviceptr>(src) + static_cast<size_t>(at),
                                            part, stream_),
                  "cuMemcpyDtoHAsync");
    driver_.check(driver_.cuEventRecord(buffer.done, stream_), "cuEventRecord");
    finish();
    before = &buffer;
    before_size = part;
    before_at = at;
  }
  finish();
}

}  // namespace rl::cuda
