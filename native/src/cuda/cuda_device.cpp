#include "cuda/cuda_device.h"

#include "cuda/cuda_weight.h"

namespace rl::cuda {
namespace {

constexpr int64_t kSharedByDefault = 48 << 10;  // more has to be asked for, kernel by kernel

const char *suffix(int32_t dtype) {
  switch (dtype) {
    case RL_F32:
      return "_f32";
    case RL_BF16:
      return "_bf16";
    case RL_F16:
      return "_f16";
    case RL_I32:
      return "_i32";
    default:
      return "_u8";
  }
}

}  // namespace

/// A CUDA graph, and the memory that its ops allocate.
class CudaRecording final : public Recording {
 public:
  CudaRecording(CudaDevice &device, CUgraphExec graph, Allocator::Blocks blocks)
      : device_(device), graph_(graph), blocks_(std::move(blocks)) {}
  ~CudaRecording() override {
    device_.enter();
    device_.driver_.cuGraphExecDestroy(graph_);
    // A launch may still be under way: whoever gets the blocks comes after it in the stream.
    device_.allocator_->take_back(std::move(blocks_));
  }
  void launch() override {
    device_.driver_.check(device_.driver_.cuGraphLaunch(graph_, device_.stream_), "cuGraphLaunch");
  }

 private:
  CudaDevice &device_;
  CUgraphExec graph_;
  Allocator::Blocks blocks_;
};

std::string kernel_name(const char *kernel, std::initializer_list<int32_t> dtypes) {
  std::string name = kernel;
  for (int32_t dtype : dtypes) name += suffix(dtype);
  return name;
}

CudaDevice::CudaDevice(const Ops &ops, const Driver &driver, const KernelImages &images, int32_t index,
                       const Libraries &libraries)
    : Device(ops), driver_(driver) {
  require_device(driver, index);
  driver_.check(driver_.cuDeviceGet(&device_, index), "cuDeviceGet");
  int value = 0;
  driver_.check(driver_.cuDeviceGetAttribute(&multiprocessors_, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device_),
                "cuDeviceGetAttribute");
  driver_.check(driver_.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device_),
                "cuDeviceGetAttribute");
  shared_limit_ = value;
  driver_.check(driver_.cuDevicePrimaryCtxRetain(&context_, device_), "cuDevicePrimaryCtxRetain");
  driver_.check(driver_.cuCtxSetCurrent(context_), "cuCtxSetCurrent");
  driver_.check(driver_.cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  void *fault = nullptr;
  driver_.check(driver_.cuMemHostAlloc(&fault, sizeof(Fault), CU_MEMHOSTALLOC_DEVICEMAP), "cuMemHostAlloc");
  fault_ = new (fault) Fault{};
  allocator_ = std::make_unique<Allocator>(driver_, stream_);
  staging_ = std::make_unique<Staging>(driver_, stream_);
  for (const KernelImage &image : images) {
    CUmodule module = nullptr;
    driver_.check(driver_.cuModuleLoadData(&module, image.data), image.file);
    modules_.push_back(module);
  }
  std::string why_not;
  if (options_.gemm != Options::Gemm::own) gemm_library_ = libraries.gemm(options_.tf32, why_not);
  if (!gemm_library_ && options_.gemm == Options::Gemm::cublaslt) {
    fail(RL_UNSUPPORTED, "RLHF4J_CUDA_GEMM=cublaslt, and there is no cuBLASLt: %s; RLHF4J_CUDA_CUBLASLT names its file",
         why_not.c_str());
  }
  if (options_.attention == Options::Attention::own) return;
  attention_library_ = libraries.attention(why_not);
  if (!attention_library_) {
    fail(RL_UNSUPPORTED, "RLHF4J_CUDA_ATTENTION=cudnn, and there is no cuDNN: %s; RLHF4J_CUDA_CUDNN names its file",
         why_not.c_str());
  }
}

CudaDevice::~CudaDevice() {
  enter();
  driver_.cuStreamSynchronize(stream_);
  release_scratch();
  gemm_library_.reset();
  attention_library_.reset();
  allocator_.reset();
  staging_.reset();
  for (CUmodule module : modules_) driver_.cuModuleUnload(module);
  driver_.cuMemFreeHost(fault_);
  driver_.cuStreamDestroy(stream_);
  driver_.cuDevicePrimaryCtxRelease(device_);
}

// Java may call from any of its threads, and the driver keeps the context by thread.
void CudaDevice::enter() noexcept { driver_.cuCtxSetCurrent(context_); }

void *CudaDevice::allocate(int64_t bytes) {
  enter();
  return allocator_->allocate(bytes, true);
}

void CudaDevice::release(void *memory, int64_t bytes) noexcept {
  enter();
  allocator_->release(memory, bytes, true);
}

void CudaDevice::trim() noexcept {
  if (noting) return;
  enter();
  release_scratch();
  driver_.cuStreamSynchronize(stream_);
  allocator_->free_cached();
}

void CudaDevice::copy_from_host(void *dst, const void *src, int64_t bytes) {
  not_while_recording();
  staging_->to_device(dst, src, bytes);
}

void CudaDevice::copy_to_host(void *dst, const void *src, int64_t bytes) {
  not_while_recording();
  staging_->to_host(dst, src, bytes);
  raise_fault(true);
}

void CudaDevice::copy_on_device(void *dst, const void *src, int64_t bytes) {
  if (bytes == 0) return;
  driver_.check(driver_.cuMemcpyDtoDAsync(reinterpret_cast<CUdeviceptr>(dst), reinterpret_cast<CUdeviceptr>(src),
                                          static_cast<size_t>(bytes), stream_),
                "cuMemcpyDtoDAsync");
}

std::unique_ptr<Weight> CudaDevice::pack(View w, bool) {
  not_while_recording();
  return std::make_unique<CudaWeight>(*this, w, true);
}

std::unique_ptr<Weight> CudaDevice::pack_nf4(const Nf4 *parts, int32_t count, int32_t dtype) {
  not_while_recording();
  return std::make_unique<CudaWeight>(*this, parts, count, dtype);
}

std::unique_ptr<Weight> CudaDevice::view(View w) { return std::make_unique<CudaWeight>(*this, w, false); }

void CudaDevice::synchronize() {
  not_while_recording();
  enter();
  driver_.check(driver_.cuStreamSynchronize(stream_), "cuStreamSynchronize");
  raise_fault(true);
}

std::string CudaDevice::describe() {
  enter();
  char name[128] = "";
  int major = 0, minor = 0;
  size_t free = 0, total = 0;
  driver_.cuDeviceGetName(name, sizeof name, device_);
  driver_.cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device_);
  driver_.cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device_);
  driver_.cuMemGetInfo(&free, &total);
  std::string text = format("%s, compute capability %d.%d, %d multiprocessors, %.1f GiB", name, major, minor,
                            multiprocessors_, static_cast<double>(total) / (1 << 30));
  if (gemm_library_) text += ", " + gemm_library_->name();
  if (attention_library_) text += ", " + attention_library_->name();
  if (options_.tf32) text += ", TF32";
  if (!options_.deterministic) text += ", not deterministic";
  return text;
}

void CudaDevice::memory(int64_t &in_use, int64_t &peak, int64_t &reserved) {
  in_use = allocator_->in_use();
  peak = allocator_->peak();
  reserved = allocator_->reserved();
}

void CudaDevice::capacity(int64_t &free, int64_t &total) {
  enter();
  size_t now = 0, all = 0;
  driver_.check(driver_.cuMemGetInfo(&now, &all), "cuMemGetInfo");
  free = static_cast<int64_t>(now);
  total = static_cast<int64_t>(all);
}

void CudaDevice::begin_op() {
  enter();
  release_scratch();
}

void CudaDevice::not_while_recording() const {
  if (noting) fail(RL_INVALID_ARGUMENT, "expected a device that does not record: nothing is done until the launch");
}

void CudaDevice::begin_recording() {
  begin_op();
  if (!can_record()) {
    fail(RL_UNSUPPORTED, "recordings are turned off by RLHF4J_CUDA_GRAPHS=0 or RLHF4J_CUDA_BLOCKING=1");
  }
  // Relaxed: an op that runs for the first time may load its kernel, and memory is allocated; neither is part of the graph.
  driver_.check(driver_.cuStreamBeginCapture(stream_, CU_STREAM_CAPTURE_MODE_RELAXED), "cuStreamBeginCapture");
  allocator_->begin_recording();
}

std::unique_ptr<Recording> CudaDevice::end_recording(bool keep) {
  begin_op();
  CUgraph graph = nullptr;
  CUgraphExec executable = nullptr;
  CUresult result = driver_.cuStreamEndCapture(stream_, &graph);
  Allocator::Pool pool = allocator_->end_recording();
  keep = keep && pool.lent == 0;
  if (result == CUDA_SUCCESS && keep) result = driver_.cuGraphInstantiateWithFlags(&executable, graph, 0);
  if (graph) driver_.cuGraphDestroy(graph);
  if (executable) return std::make_unique<CudaRecording>(*this, executable, std::move(pool.blocks));
  allocator_->take_back(std::move(pool.blocks));
  if (pool.lent > 0) {
    fail(RL_INVALID_ARGUMENT, "expected every buffer that was allocated in between to be freed, found %zu that are not",
         pool.lent);
  }
  driver_.check(result, "recording");
  return nullptr;
}

void *CudaDevice::scratch_bytes(int64_t bytes) {
  scratch_.reserve(scratch_.size() + 1);
  void *memory = allocator_->allocate(bytes, false);
  scratch_.push_back({memory, bytes});
  return memory;
}

void CudaDevice::release_scratch() noexcept {
  for (const Block &block : scratch_) allocator_->release(block.memory, block.bytes, false);
  scratch_.clear();
}

CUfunction CudaDevice::function(const std::string &kernel, const size_t *sizes, size_t count) {
  const auto known = functions_.find(kernel);
  if (known != functions_.end()) return known->second;
  CUfunction found = nullptr;
  for (CUmodule module : modules_) {
    if (driver_.cuModuleGetFunction(&found, module, kernel.c_str()) == CUDA_SUCCESS) break;
    found = nullptr;
  }
  if (!found) fail(RL_INTERNAL, "no kernel is called %s", kernel.c_str());
  // The driver reads parameters through untyped pointers: what the kernel declares must be what is passed.
  for (size_t i = 0; i <= count; i++) {
    size_t offset = 0, size = 0;
    const bool there = driver_.cuFuncGetParamInfo(found, i, &offset, &size) == CUDA_SUCCESS;
    if (there != (i < count) || (there && size != sizes[i])) {
      fail(RL_INTERNAL, "kernel %s: parameter %zu is not what is passed", kernel.c_str(), i);
    }
  }
  functions_[kernel] = found;
  return found;
}

void CudaDevice::launch_raw(const std::string &kernel, const Grid &grid, void **values, const size_t *sizes,
                            size_t count) {
  if (grid.blocks == 0 || grid.blocks_y == 0) return;
  if (grid.blocks > INT32_MAX || grid.blocks_y > 65535) {
    fail(RL_UNSUPPORTED, "kernel %s: a grid of %lld x %lld blocks", kernel.c_str(), static_cast<long long>(grid.blocks),
         static_cast<long long>(grid.blocks_y));
  }
  const CUfunction f = function(kernel, sizes, count);
  if (grid.shared > kSharedByDefault) {
    if (grid.shared > shared_limit_) {
      fail(RL_UNSUPPORTED, "kernel %s needs %lld bytes of shared memory, this GPU has %lld", kernel.c_str(),
           static_cast<long long>(grid.shared), static_cast<long long>(shared_limit_));
    }
    driver_.check(
        driver_.cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, static_cast<int>(grid.shared)),
        kernel.c_str());
  }
  driver_.check(driver_.cuLaunchKernel(f, static_cast<unsigned>(grid.blocks), static_cast<unsigned>(grid.blocks_y), 1,
                                       static_cast<unsigned>(grid.threads), 1, 1, static_cast<unsigned>(grid.shared),
                                       stream_, values, nullptr),
                kernel.c_str());
  launched(kernel.c_str());
}

bool CudaDevice::multiply_by_library(const Gemm &gemm, bool required) {
  if (!gemm_library_ || !gemm_library_->launch(*this, stream_, gemm, required)) return false;
  launched("cublasLtMatmul");
  return true;
}

bool CudaDevice::attend_by_library(const AttentionTensors &x) {
  if (!attention_library_) return false;
  attention_library_->forward(*this, stream_, x);
  launched("attention by cuDNN");
  return true;
}

bool CudaDevice::attend_backward_by_library(const AttentionTensors &x, const AttentionGradients &g) {
  if (!attention_library_) return false;
  attention_library_->backward(*this, stream_, x, g);
  launched("attention_backward by cuDNN");
  return true;
}

void CudaDevice::launched(const char *what) {
  if (!options_.blocking) return;
  driver_.check(driver_.cuStreamSynchronize(stream_), what);
  raise_fault(false);
}

void CudaDevice::raise_fault(bool name_op) {
  if (fault_->kind == kNoFault) return;
  const Fault f = *fault_;
  *fault_ = Fault{};
  const std::string where = name_op ? format("%s: ", f.op) : "";
  const long long index = f.index, value = f.value, least = f.least, limit = f.limit;
  switch (f.kind) {
    case kNotZero:
      fail(RL_INVALID_ARGUMENT, "%s%s[0] is %lld, expected 0", where.c_str(), f.argument, value);
    case kFalls:
      fail(RL_INVALID_ARGUMENT, "%s%s[%lld] is %lld, expected at least the %lld before it", where.c_str(), f.argument,
           index, value, limit);
    case kWrongEnd:
      fail(RL_INVALID_ARGUMENT, "%s%s[%lld] is %lld, expected the number of rows, %lld", where.c_str(), f.argument,
           index, value, limit);
    case kEmptySequence:
      fail(RL_INVALID_ARGUMENT, "%s%s: sequence %lld is empty, expected at least one token", where.c_str(), f.argument,
           index);
    case kNoChoice:
      fail(RL_INVALID_ARGUMENT,
           "%s%s: row %lld holds NaN, infinity (once divided by the temperature), or nothing to choose from",
           where.c_str(), f.argument, index);
    case kNoTarget:
      fail(RL_INVALID_ARGUMENT, "%s%s[%lld] is %lld, expected %lld to %lld or -100", where.c_str(), f.argument, index,
           value, least, limit);
    default:
      fail(RL_INVALID_ARGUMENT, "%s%s[%lld] is %lld, expected %lld to %lld", where.c_str(), f.argument, index, value,
           least, limit);
  }
}

}  // namespace rl::cuda
