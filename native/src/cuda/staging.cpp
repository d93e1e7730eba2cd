#include "cuda/staging.h"

#include <algorithm>
#include <cstring>
#include <optional>

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

Staging::Place Staging::place(int64_t bytes) {
  if (buffers_[turn_].used == kBytes) {
    turn_ ^= 1;
    driver_.check(driver_.cuEventSynchronize(buffers_[turn_].done), "cuEventSynchronize");
    buffers_[turn_].used = 0;
  }
  Buffer &buffer = buffers_[turn_];
  const Place place = {buffer, buffer.memory + buffer.used, std::min(bytes, kBytes - buffer.used)};
  buffer.used = std::min(kBytes, (buffer.used + place.bytes + 63) / 64 * 64);
  return place;
}

void Staging::queued(const Place &place) {
  driver_.check(driver_.cuEventRecord(place.buffer.done, stream_), "cuEventRecord");
}

void Staging::to_device(void *dst, const void *src, int64_t bytes) {
  for (int64_t at = 0; at < bytes;) {
    const Place part = place(bytes - at);
    std::memcpy(part.memory, static_cast<const char *>(src) + at, static_cast<size_t>(part.bytes));
    driver_.check(driver_.cuMemcpyHtoDAsync(reinterpret_cast<CUdeviceptr>(dst) + static_cast<size_t>(at), part.memory,
                                            static_cast<size_t>(part.bytes), stream_),
                  "cuMemcpyHtoDAsync");
    queued(part);
    at += part.bytes;
  }
}

void Staging::to_host(void *dst, const void *src, int64_t bytes) {
  // Piece i, which lies in the other buffer, is queued before piece i - 1 is waited for.
  std::optional<Place> before;
  int64_t before_at = 0;
  auto finish = [&] {
    if (!before) return;
    driver_.check(driver_.cuEventSynchronize(before->buffer.done), "cuEventSynchronize");
    std::memcpy(static_cast<char *>(dst) + before_at, before->memory, static_cast<size_t>(before->bytes));
  };
  for (int64_t at = 0; at < bytes;) {
    const Place part = place(bytes - at);
    driver_.check(driver_.cuMemcpyDtoHAsync(part.memory, reinterpret_cast<CUdeviceptr>(src) + static_cast<size_t>(at),
                                            static_cast<size_t>(part.bytes), stream_),
                  "cuMemcpyDtoHAsync");
    queued(part);
    finish();
    before.emplace(part);
    before_at = at;
    at += part.bytes;
  }
  finish();
}

}  // namespace rl::cuda
