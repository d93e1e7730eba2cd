// A GPU: memory, one stream on which everything runs in order, and the kernels of this library by name.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "cuda/allocator.h"
#include "cuda/attention_library.h"
#include "cuda/driver.h"
#include "cuda/fault.h"
#include "cuda/gemm_library.h"
#include "cuda/options.h"
#include "cuda/staging.h"
#include "dispatch/backend.h"

namespace rl::cuda {

/// Compiled kernels of one file of cuda/kernels, as cuModuleLoadData takes them.
struct KernelImage {
  const char *file;
  const void *data;
};
using KernelImages = std::vector<KernelImage>;

/// Libraries that do some of the work if the options say so.
struct Libraries {
  OpenGemmLibrary gemm;
  OpenAttentionLibrary attention;
};

/// "rms_norm" and the dtypes of some arguments: rms_norm_f32_bf16.
std::string kernel_name(const char *kernel, std::initializer_list<int32_t> dtypes);

/// How many blocks of how many threads, and how many bytes of dynamic shared memory each.
struct Grid {
  int64_t blocks;
  int64_t blocks_y;
  int threads;
  int64_t shared = 0;
};

class CudaDevice final : public Device {
 public:
  /// Throws RL_UNSUPPORTED if the driver or the GPU does not serve, or a library that the options ask for is not there.
  CudaDevice(const Ops &ops, const Driver &driver, const KernelImages &images, int32_t index,
             const Libraries &libraries);
  ~CudaDevice() override;

  void *allocate(int64_t bytes) override;
  void release(void *memory, int64_t bytes) noexcept override;
  void trim() noexcept override;
  void copy_from_host(void *dst, const void *src, int64_t bytes) override;
  void copy_to_host(void *dst, const void *src, int64_t bytes) override;
  std::unique_ptr<Weight> pack(View w, bool for_backward) override;
  std::unique_ptr<Weight> pack_nf4(const Nf4 *parts, int32_t count, int32_t dtype) override;
  std::unique_ptr<Weight> view(View w) override;
  void synchronize() override;
  std::string describe() override;
  void memory(int64_t &in_use, int64_t &peak, int64_t &reserved) override;
  void capacity(int64_t &free, int64_t &total) override;
  void reset_peak() override { allocator_->reset_peak(); }
  void begin_op() override;
  /// Not with RLHF4J_CUDA_BLOCKING, which is to name the op that fails.
  bool can_record() override { return options_.graphs && !options_.blocking; }
  void begin_recording() override;
  std::unique_ptr<Recording> end_recording(bool keep) override;

  /// Queues a kernel: its parameters are the arguments, by value and in order. Nothing happens if the grid is empty.
  template <class... P>
  void launch(const std::string &kernel, const Grid &grid, const P &...arguments) {
    const void *values[] = {&arguments...};
    const size_t sizes[] = {sizeof(P)...};
    launch_raw(kernel, grid, const_cast<void **>(values), sizes, sizeof...(P));
  }

  /// Uninitialised memory for `count` elements until the op ends.
  template <class T>
  T *scratch(int64_t count) {
    return static_cast<T *>(scratch_bytes(count * static_cast<int64_t>(sizeof(T))));
  }
  /// Queues a copy of dense memory.
  void copy_on_device(void *dst, const void *src, int64_t bytes);
  const Options &options() const { return options_; }
  /// Queues a product by a library; false if there is none, or it has no such product. `required`: as GemmLibrary has it.
  bool multiply_by_library(const Gemm &gemm, bool required);
  /// Queues attention by a library; false if our own is chosen.
  bool attend_by_library(const AttentionTensors &x);
  bool attend_backward_by_library(const AttentionTensors &x, const AttentionGradients &g);
  Guard guard(const char *op, const char *argument) { return {fault_, op, argument}; }
  int multiprocessors() const { return multiprocessors_; }

 private:
  friend class CudaRecording;
  void enter() noexcept;
  void not_while_recording() const;
  void launch_raw(const std::string &kernel, const Grid &grid, void **values, const size_t *sizes, size_t count);
  CUfunction function(const std::string &kernel, const size_t *sizes, size_t count);
  void *scratch_bytes(int64_t bytes);
  void release_scratch() noexcept;
  void launched(const char *what);
  void raise_fault(bool name_op);

  struct Block {
    void *memory;
    int64_t bytes;
  };
  const Driver &driver_;
  const Options options_ = options_of_environment();
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  CUstream stream_ = nullptr;
  int multiprocessors_ = 1;
  int64_t shared_limit_ = 0;
  Fault *fault_ = nullptr;
  std::unique_ptr<Allocator> allocator_;
  std::unique_ptr<Staging> staging_;
  std::vector<CUmodule> modules_;
  std::unordered_map<std::string, CUfunction> functions_;
  std::vector<Block> scratch_;  // of the running op
  std::unique_ptr<GemmLibrary> gemm_library_;
  std::unique_ptr<AttentionLibrary> attention_library_;
};

inline CudaDevice &gpu(Device &device) { return static_cast<CudaDevice &>(device); }

/// The op table: a function for every op of ops.def.
extern const Ops ops;

}  // namespace rl::cuda
