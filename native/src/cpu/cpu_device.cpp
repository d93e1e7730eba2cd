#include "cpu/cpu_device.h"

#include <omp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "cpu/gemm.h"
#include "cpu/isa.h"

namespace rl::cpu {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;
constexpr int64_t kLargest = int64_t{1} << 46;  // beyond any machine's memory; sums of sizes cannot overflow below it

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    const size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

}  // namespace

int64_t rounded_size(int64_t bytes) {
  if (bytes <= 256) return 256;
  // Eight classes between powers of two: at most an eighth is lost, and shapes that vary by batch find free blocks.
  int64_t step = 64;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

CpuDevice::CpuDevice(const Ops &ops, const char *isa, int threads) : Device(ops), isa_(isa), threads_(threads) {}

CpuDevice::~CpuDevice() { trim(); }

void *CpuDevice::allocate(int64_t bytes) {
  if (bytes > kLargest) fail(RL_OUT_OF_MEMORY, "cannot allocate %lld bytes", static_cast<long long>(bytes));
  const int64_t size = rounded_size(bytes);
  void *memory = take(size);
  in_use_ += size;
  if (in_use_ > peak_) peak_ = in_use_;
  return memory;
}

void CpuDevice::release(void *memory, int64_t bytes) noexcept {
  const int64_t size = rounded_size(bytes);
  in_use_ -= size;
  give(memory, size);
}

void *CpuDevice::take(int64_t size) {
  auto cached = free_.find(size);
  if (cached != free_.end() && !cached->second.empty()) {
    void *memory = cached->second.back();
    cached->second.pop_back();
    return memory;
  }
  const size_t alignment = static_cast<size_t>(size >= kHugePage ? kHugePage : 64);
  void *memory = nullptr;
  if (posix_memalign(&memory, alignment, static_cast<size_t>(size)) != 0) {
    // Blocks of other sizes may lie idle. Not trim(): the running op's scratch stays.
    free_cached();
    if (posix_memalign(&memory, alignment, static_cast<size_t>(size)) != 0) {
      fail(RL_OUT_OF_MEMORY, "cannot allocate %lld bytes (in use: %lld)", static_cast<long long>(size),
           static_cast<long long>(in_use_));
    }
  }
#ifdef MADV_HUGEPAGE
  if (size >= kHugePage) madvise(memory, static_cast<size_t>(size), MADV_HUGEPAGE);
#endif
  reserved_ += size;
  return memory;
}

void CpuDevice::give(void *memory, int64_t size) noexcept {
  try {
    free_[size].push_back(memory);
  } catch (...) {
    std::free(memory);
    reserved_ -= size;
  }
}

void CpuDevice::free_cached() noexcept {
  for (auto &entry : free_) {
    for (void *memory : entry.second) {
      std::free(memory);
      reserved_ -= entry.first;
    }
  }
  free_.clear();
}

void CpuDevice::trim() noexcept {
  release_scratch(0);
  free_cached();
}

void CpuDevice::copy_from_host(void *dst, const void *src, int64_t bytes) {
  if (bytes) std::memcpy(dst, src, static_cast<size_t>(bytes));
}

void CpuDevice::copy_to_host(void *dst, const void *src, int64_t bytes) {
  if (bytes) std::memcpy(dst, src, static_cast<size_t>(bytes));
}

std::string CpuDevice::describe() { return format("%s, %s kernels, %d threads", cpu_model().c_str(), isa_, threads_); }

void CpuDevice::memory(int64_t &in_use, int64_t &peak, int64_t &reserved) {
  in_use = in_use_;
  peak = peak_;
  reserved = reserved_;
}

void CpuDevice::capacity(int64_t &free, int64_t &total) { free = total = 0; }

void CpuDevice::begin_op() {
  release_scratch(0);
  // OpenMP keeps the number per calling thread, and Java may call from any of its own.
  if (omp_get_max_threads() != threads_) omp_set_num_threads(threads_);
}

void CpuDevice::release_scratch(size_t keep) noexcept {
  while (scratch_.size() > keep) {
    give(scratch_.back().memory, scratch_.back().size);
    scratch_.pop_back();
  }
}

Gemm &CpuDevice::gemm() {
  if (!gemm_) gemm_ = std::make_unique<Gemm>();
  return *gemm_;
}

void *CpuDevice::scratch_bytes(int64_t bytes) {
  if (bytes < 0 || bytes > kLargest) fail(RL_OUT_OF_MEMORY, "needs too much scratch memory for shapes of this size");
  scratch_.reserve(scratch_.size() + 1);
  const int64_t size = rounded_size(bytes);
  void *memory = take(size);
  scratch_.push_back({memory, size});
  return memory;
}

}  // namespace rl::cpu

namespace rl {

std::unique_ptr<Device> open_cpu_device(int32_t, int32_t threads) {
  const int all = omp_get_num_procs();
  const cpu::Isa isa = cpu::best_isa();
  return std::make_unique<cpu::CpuDevice>(cpu::ops_of(isa), cpu::isa_name(isa), threads > 0 ? threads : all);
}

}  // namespace rl
