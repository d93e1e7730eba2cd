#include "emulator/ptx/memory.h"

#include <algorithm>
#include <cstring>

namespace rl::emulator::ptx {

GlobalBlocks &global_blocks() {
  static GlobalBlocks &blocks = *new GlobalBlocks;
  return blocks;
}

void GlobalBlocks::lend(const void *block, size_t bytes) {
  const uint64_t at = reinterpret_cast<uint64_t>(block);
  if (bytes) {
    blocks_[at] = at + bytes;
  } else {
    blocks_.erase(at);
  }
  begin_ = 1;
  end_ = 0;
}

bool GlobalBlocks::find(uint64_t address, size_t bytes) {
  auto block = blocks_.upper_bound(address);
  if (block == blocks_.begin()) return false;
  --block;
  if (address + bytes > block->second) return false;
  begin_ = block->first;
  end_ = block->second;
  return true;
}

SharedMemory &shared() {
  static SharedMemory &memory = *new SharedMemory;
  return memory;
}

void SharedMemory::clear(size_t bytes) {
  bytes_.assign(bytes + 16, 0xff);
  cells_.assign(bytes / 2 + 8, Cell{kForeign, 0});
  epoch_ = 1;
}

void SharedMemory::lend(size_t at, size_t bytes) {
  std::fill_n(cells_.begin() + static_cast<long>(at / 2), (bytes + 1) / 2, Cell{0, 0});
}

const char *SharedMemory::touch(uint64_t at, size_t bytes, Access kind, int warp, bool needs_values) {
  if (at + bytes > bytes_.size()) return "out-of-bounds-shared";
  const uint32_t mine = tag(warp);
  Cell *c = &cells_[at / 2];
  for (size_t i = 0; i < (bytes + 1) / 2; i++, c++) {
    if (c->write == kForeign) return "out-of-bounds-shared";
    if (c->write & kInFlight) return "copy-race";
    if (needs_values && c->write == 0) return "uninitialised-shared";
    const bool both_atomic = kind == Access::atomic && c->write == tag(kAtomic);
    // Two bytes of one cell may be two warps' own: single bytes are not looked at.
    if (bytes > 1 && !both_atomic && is_race(c->write, mine)) return "race";
    if (kind == Access::read) {
      c->read = is_race(c->read, mine) ? tag(kMany) : mine;
    } else {
      if (bytes > 1 && is_race(c->read, mine)) return "race";
      c->write = kind == Access::atomic ? tag(kAtomic) : mine;
    }
  }
  return nullptr;
}

const char *SharedMemory::copy_starts(uint64_t at, size_t bytes, int warp) {
  if (const char *wrong = touch(at, bytes, Access::write, warp, false)) return wrong;
  for (size_t i = 0; i < bytes / 2; i++) cells_[at / 2 + i].write |= kInFlight;
  return nullptr;
}

const char *SharedMemory::copy_ends(uint64_t at, size_t bytes, int warp) {
  for (size_t i = 0; i < bytes / 2; i++) cells_[at / 2 + i].write = tag(warp);
  return nullptr;
}

}  // namespace rl::emulator::ptx
