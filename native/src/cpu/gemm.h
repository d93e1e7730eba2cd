// Products by oneDNN. A primitive costs about 0.8 ms to make (measured, Zen 4) and a few microseconds to run, so they
// are kept, the least recently used given up first.
#pragma once

#include <list>
#include <unordered_map>

#include "cpu/cpu_weight.h"

struct dnnl_engine;
struct dnnl_stream;

namespace rl::cpu {

class Gemm {
 public:
  Gemm();
  ~Gemm();
  Gemm(const Gemm &) = delete;
  Gemm &operator=(const Gemm &) = delete;

  /// Whether oneDNN has an optimised product of this dtype on this processor (RLHF4J_CPU_ISA caps it, too).
  bool optimised(int32_t dtype) const { return dtype == RL_BF16 ? bf16_ : f32_; }

  /// Y = X B + bias, or Y += with accumulate. Y float [m,n], X [m,k] in B's dtype, bias f32 [n] or null.
  void multiply(CpuDevice &device, View y, View x, const Matrix &b, const float *bias, bool accumulate);
  /// Y += A^T B. Y f32 [n,k], A [t,n], B [t,k] of one dtype.
  void add_transposed(CpuDevice &device, View y, View a, View b);

 private:
  struct Shape;
  struct Entry;
  struct Hash;
  Entry &find(const Shape &shape);
  void run(CpuDevice &device, Entry &entry, void *y, const void *x, const void *b, const float *bias);

  bool bf16_ = false, f32_ = false;
  dnnl_engine *engine_ = nullptr;
  dnnl_stream *stream_ = nullptr;
  std::list<Entry> entries_;  // the latest first
  std::unordered_multimap<uint64_t, std::list<Entry>::iterator> index_;
};

}  // namespace rl::cpu
