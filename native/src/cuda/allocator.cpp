#include "cuda/allocator.h"

namespace rl::cuda {

int64_t Allocator::rounded(int64_t bytes) {
  if (bytes <= 512) return 512;
  // Eight classes between powers of two: at most an eighth is lost, and shapes that vary by batch find free blocks.
  int64_t step = 64;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

void *Allocator::allocate(int64_t bytes, bool counted) {
  constexpr int64_t largest = int64_t{1} << 46;  // sums of sizes cannot overflow below it
  if (bytes < 0 || bytes > largest) fail(RL_OUT_OF_MEMORY, "cannot allocate %lld bytes", static_cast<long long>(bytes));
  const int64_t size = rounded(bytes);
  CUdeviceptr block = 0;
  auto cached = free_.find(size);
  if (cached != free_.end() && !cached->second.empty()) {
    block = cached->second.back();
    cached->second.pop_back();
  } else {
    CUresult result = driver_.cuMemAlloc(&block, static_cast<size_t>(size));
    if (result == CUDA_ERROR_OUT_OF_MEMORY) {
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
  try {
    free_[size].push_back(block);
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
