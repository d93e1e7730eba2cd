#include "emulator/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

#include "emulator/block.h"
#include "emulator/checker.h"
#include "emulator/fiber.h"
#include "emulator/report.h"

namespace rl::emulator {
namespace {

constexpr size_t kGlobal = size_t{4} << 30, kPinned = size_t{256} << 20, kShared = size_t{256} << 10;
constexpr size_t kGap = 256;  // a write past the end of a block lands in nobody's

Arena reserve(size_t bytes, int protection) {
  void *base = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) std::abort();  // address space only; a test machine has it
  return {static_cast<uint8_t *>(base), bytes};
}

/// First fit; blocks and gaps are few.
class Heap {
 public:
  explicit Heap(const Arena &arena) : arena_(arena) {}
  void *allocate(size_t bytes) {
    const size_t size = (bytes + 255) / 256 * 256;
    size_t at = 0;
    for (const auto &block : blocks_) {
      if (block.first >= at + size + kGap) break;
      at = block.first + block.second + kGap;
    }
    if (at + size + kGap > arena_.capacity) return nullptr;
    blocks_[at] = size;
    used_ += size;
    top_ = std::max(top_, at + size);
    return arena_.base + at;
  }
  void release(void *block) {
    const auto found = blocks_.find(static_cast<size_t>(static_cast<uint8_t *>(block) - arena_.base));
    used_ -= found->second;
    blocks_.erase(found);
  }
  size_t used() const { return used_; }
  size_t top() const { return top_; }  // the highest address that was ever given out

 private:
  const Arena &arena_;
  std::map<size_t, size_t> blocks_;  // offset, size
  size_t used_ = 0, top_ = 0;
};

Heap &global_heap() {
  static Heap &heap = *new Heap(global_memory());
  return heap;
}
Heap &pinned_heap() {
  static Heap &heap = *new Heap(pinned_memory());
  return heap;
}

void protect(int protection) {
  const size_t bytes = (global_heap().top() + 4095) / 4096 * 4096;
  if (bytes) mprotect(global_memory().base, bytes, protection);
}

size_t dynamic_bytes, used, used_before;
std::map<const void *, size_t> &arrays = *new std::map<const void *, size_t>;  // of the running block: offsets by key

}  // namespace

const Arena &global_memory() {
  static const Arena arena = reserve(kGlobal, PROT_NONE);
  return arena;
}
const Arena &pinned_memory() {
  static const Arena arena = reserve(kPinned, PROT_READ | PROT_WRITE);
  return arena;
}
const Arena &shared_memory() {
  static const Arena arena = reserve(kShared, PROT_READ | PROT_WRITE);
  return arena;
}

void *allocate_global(size_t bytes) { return global_heap().allocate(bytes); }
void free_global(void *block) { global_heap().release(block); }
size_t free_global_bytes() { return kGlobal - global_heap().used(); }
void *allocate_pinned(size_t bytes) { return pinned_heap().allocate(bytes); }
void free_pinned(void *block) { pinned_heap().release(block); }

GlobalMemoryOpen::GlobalMemoryOpen() { protect(PROT_READ | PROT_WRITE); }
GlobalMemoryOpen::~GlobalMemoryOpen() { protect(PROT_NONE); }

void begin_shared(size_t dynamic) {
  used_before = used;
  dynamic_bytes = used = dynamic;
  arrays.clear();
  std::memset(shared_memory().base, 0xff, shared_used());
  checker::begin_shared(dynamic);
}

size_t shared_used() { return std::max(used, used_before); }

void *dynamic_shared() { return shared_memory().base; }

void *shared_array(const void *key, size_t bytes, const char *name) {
  const auto found = arrays.find(key);
  if (found != arrays.end()) return shared_memory().base + found->second;
  const size_t at = (used + 64 + 127) / 128 * 128;  // a gap, and banks as on the device
  if (at + bytes + 64 > kShared) {
    error("too-much-shared-memory", nullptr, 0, name);
    abandon();
  }
  std::memset(shared_memory().base + used, 0xff, at + bytes - used);
  arrays[key] = at;
  used = at + bytes;
  uint8_t *array = shared_memory().base + at;
  checker::shared_array(array, bytes);
  return array;
}

}  // namespace rl::emulator
