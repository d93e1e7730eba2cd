#include "cuda/allocator.h"

#include <utility>

namespace rl::cuda {

int64_t Allocator::rounded(int64_t bytes) {
  if (bytes <= 512) return 512;
  // Eight classes between powers of two: at most an eighth is lost, and shapes that vary by batch find free blocks.
  int64_t step = 64;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

CUdeviceptr Allocator::take(Blocks &blocks, int64_t size) {
  const auto of_size = blocks.find(size);
  if (of_size == blocks.end() || of_size->second.empty()) return 0;
  const CUdeviceptr block = of_size->second.back();
  of_size->second.pop_back();
  return block;
}

Allocator::Pool Allocator::end_recording() {
  Pool pool{std::exchange(recorded_, {}), noted_.size()};
  if (driver_.lent) {
    for (const auto &[block, bytes] : noted_) driver_.lent(block, bytes, stream_);
  }
  noted_.clear();
  recording_ = false;
  return pool;
}

void Allocator::take_back(Blocks &&blocks) noexcept {
  for (const auto &[size, of_size] : blocks) {
    for (CUdeviceptr block : of_size) keep(free_, size, block);
  }
  blocks.clear();
}

void *Allocator::allocate(int64_t bytes, bool counted) {
  constexpr int64_t largest = int64_t{1} << 46;  // sums of sizes cannot overflow below it
  if (bytes < 0 || bytes > largest) fail(RL_OUT_OF_MEMORY, "cannot allocate %lld bytes", static_cast<long long>(bytes));
  const int64_t size = rounded(bytes);
  CUdeviceptr block = recording_ ? take(recorded_, size) : 0;
  if (!block) block = take(free_, size);
  if (!block) {
    CUresult result = driver_.cuMemAlloc(&block, static_cast<size_t>(size));
    if (result == CUDA_ERROR_OUT_OF_MEMORY && !recording_) {
      free_cached();  // blocks of other sizes may lie idle
      result = driver_.cuMemAlloc(&block, static_cast<size_t>(size));
    }
    if (result == CUDA_ERROR_OUT_OF_MEMORY) {
      fail(RL_OUT_OF_MEMORY, "cannot allocate %lld bytes on the GPU (in use: %lld)", static_cast<long long>(size),
           static_cast<long long>(in_use_));
    }
    driver_.check(result, "cuMemAlloc");
    reserved_ += size;
  }
  if (recording_) noted_[block] = static_cast<size_t>(bytes);
  (counted ? in_use_ : scratch_) += size;
  if (in_use_ + scratch_ > peak_) peak_ = in_use_ + scratch_;
  if (driver_.lent) driver_.lent(block, static_cast<size_t>(bytes), stream_);
  return reinterpret_cast<void *>(block);
}

void Allocator::release(void *memory, int64_t bytes, bool counted) noexcept {
  const int64_t size = rounded(bytes);
  const CUdeviceptr block = reinterpret_cast<CUdeviceptr>(memory);
  (counted ? in_use_ : scratch_) -= size;
  if (driver_.lent) driver_.lent(block, 0, stream_);
  if (recording_) noted_.erase(block);
  keep(recording_ ? recorded_ : free_, size, block);
}

void Allocator::keep(Blocks &blocks, int64_t size, CUdeviceptr block) noexcept {
  try {
    blocks[size].push_back(block);
  } catch (...) {
    driver_.cuMemFree(block);
    reserved_ -= size;
  }
}

void Allocator::free_cached() noexcept {
  for (auto &entry : free_) {
    for (CUdeviceptr block : entry.second) {
      driver_.cuMemFree(block);
      reserved_ -= entry.first;
    }
  }
  free_.clear();
}

}  // namespace rl::cuda
