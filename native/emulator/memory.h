// The memories of the emulated GPU: one range of addresses each, so that an address tells which memory it is in. Global memory
// cannot be touched outside of launches and copies: host code that follows a device pointer crashes here as it would there.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rl::emulator {

struct Arena {
  uint8_t *base;
  size_t capacity;
  bool holds(const void *p) const { return p >= base && p < base + capacity; }
};
const Arena &global_memory();
const Arena &pinned_memory();
const Arena &shared_memory();

/// 256-byte aligned, with a gap to the next block; null when the memory is full.
void *allocate_global(size_t bytes);
void free_global(void *block);
/// Bytes of global memory that are not allocated.
size_t free_global_bytes();
void *allocate_pinned(size_t bytes);
void free_pinned(void *block);

/// Global memory may be touched while one of these lives.
class GlobalMemoryOpen {
 public:
  GlobalMemoryOpen();
  ~GlobalMemoryOpen();
  GlobalMemoryOpen(const GlobalMemoryOpen &) = delete;
  GlobalMemoryOpen &operator=(const GlobalMemoryOpen &) = delete;
};

/// A new block's shared memory: filled with NaNs, `dynamic` bytes of it for dynamic_shared().
void begin_shared(size_t dynamic);
/// What of shared memory was used by the block before or is by this one.
size_t shared_used();

}  // namespace rl::emulator
