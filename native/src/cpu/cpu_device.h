// The CPU backend's device: a caching allocator, scratch memory for kernels, the number of threads.
#pragma once

#include <map>
#include <unordered_map>
#include <vector>

#include "dispatch/backend.h"

namespace rl::cpu {

class Gemm;

class CpuDevice final : public Device {
 public:
  CpuDevice(const Ops &ops, const char *isa, int threads);
  ~CpuDevice() override;

  void *allocate(int64_t bytes) override;
  void release(void *memory, int64_t bytes) noexcept override;
  void trim() noexcept override;
  void copy_from_host(void *dst, const void *src, int64_t bytes) override;
  void copy_to_host(void *dst, const void *src, int64_t bytes) override;
  std::unique_ptr<Weight> pack(View w, bool for_backward) override;
  std::unique_ptr<Weight> view(View w) override;
  std::unique_ptr<Weight> pack_nf4(const Nf4 *parts, int32_t count, int32_t dtype) override;
  void synchronize() override {}
  std::string describe() override;
  void memory(int64_t &in_use, int64_t &peak, int64_t &reserved) override;
  void capacity(int64_t &free, int64_t &total) override;
  void reset_peak() override { peak_ = in_use_; }
  void begin_op() override;

  __attribute__((always_inline)) int threads() const { return threads_; }
  /// Products by oneDNN; made at the first use.
  Gemm &gemm();

  /// Uninitialised memory for `count` elements, 64-byte aligned, until the op ends. Not for use inside a parallel
  /// region.
  template <class T>
  __attribute__((always_inline)) T *scratch(int64_t count) {
    return static_cast<T *>(scratch_bytes(count * static_cast<int64_t>(sizeof(T))));
  }

 private:
  friend class ScratchScope;
  void *scratch_bytes(int64_t bytes);
  void release_scratch(size_t keep) noexcept;
  void *take(int64_t size);
  void give(void *memory, int64_t size) noexcept;
  void free_cached() noexcept;

  struct Block {
    void *memory;
    int64_t size;  // rounded
  };
  const char *isa_;
  int threads_;
  std::map<int64_t, std::vector<void *>> free_;  // by rounded size
  std::vector<Block> scratch_;                   // of the running op
  int64_t in_use_ = 0, peak_ = 0;                // buffers and weights
  int64_t reserved_ = 0;                         // all that was taken from the system, scratch and free blocks too
  std::unique_ptr<Gemm> gemm_;
};

/// Gives back, at its end, the scratch memory taken since its beginning: for pieces of ops that run in a loop.
class ScratchScope {
 public:
  explicit ScratchScope(CpuDevice &device) : device_(device), keep_(device.scratch_.size()) {}
  ~ScratchScope() { device_.release_scratch(keep_); }
  ScratchScope(const ScratchScope &) = delete;
  ScratchScope &operator=(const ScratchScope &) = delete;

 private:
  CpuDevice &device_;
  const size_t keep_;
};

__attribute__((always_inline)) inline CpuDevice &cpu(Device &device) { return static_cast<CpuDevice &>(device); }

/// The rounded size of an allocation: what the allocator takes and accounts.
int64_t rounded_size(int64_t bytes);

}  // namespace rl::cpu
