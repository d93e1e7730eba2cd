// The CUDA driver over the emulator. A stream is a queue that is worked off when somebody waits for it, and no sooner: the host
// must not count on a copy or a kernel having happened before.
#include "cuda/driver.h"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "emulator/driver.h"
#include "emulator/machine.h"
#include "emulator/memory.h"
#include "emulator/report.h"

// The handles of cuda.h are pointers to these.
struct CUgraph_st {
  std::vector<std::function<CUresult()>> tasks;
};
struct CUgraphExec_st : CUgraph_st {};
struct CUstream_st {
  std::deque<std::function<CUresult()>> queue;
  CUgraph_st *captured = nullptr;  // where work goes instead while a graph is made
};
struct CUevent_st {
  CUstream_st *stream = nullptr;  // where it was recorded last; waiting for it works off all of that queue
};

namespace rl::emulator {
namespace {

std::recursive_mutex &mutex = *new std::recursive_mutex;  // the emulator's state is one for the process
Machine *machine;
std::string &last_report = *new std::string;
std::set<CUstream_st *> &streams = *new std::set<CUstream_st *>;

using Lock = std::lock_guard<std::recursive_mutex>;

/// After a kernel has failed a GPU answers everything with that error, until the process ends. Only a failure that was asked
/// for goes so far here: tests want to go on after the others.
CUresult broken = CUDA_SUCCESS;

void queue(CUstream_st *stream, std::function<CUresult()> task) {
  if (stream->captured) {
    stream->captured->tasks.push_back(std::move(task));
  } else {
    stream->queue.push_back(std::move(task));
  }
}

uint8_t *address(CUdeviceptr p) { return reinterpret_cast<uint8_t *>(p); }

CUresult work_off(CUstream_st *stream) {
  if (stream->captured) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;  // nobody can wait for it
  const GlobalMemoryOpen open;
  CUresult result = CUDA_SUCCESS;
  while (!stream->queue.empty()) {
    const auto task = std::move(stream->queue.front());
    stream->queue.pop_front();
    const CUresult one = broken == CUDA_SUCCESS ? task() : broken;
    if (result == CUDA_SUCCESS) result = one;
  }
  return result == CUDA_SUCCESS ? broken : result;
}

/// Waits for the device, as freeing memory does.
CUresult work_off_all() {
  CUresult result = CUDA_SUCCESS;
  for (CUstream_st *stream : streams) {
    const CUresult one = work_off(stream);
    if (result == CUDA_SUCCESS) result = one;
  }
  return result;
}

/// A GPU's copy engine does not know of buffers; the machine does.
CUresult copy(void *dst, const void *src, size_t bytes, bool check_dst, bool check_src) {
  if ((check_dst && !machine->is_lent(dst, bytes)) || (check_src && !machine->is_lent(src, bytes))) {
    begin_report("copy");
    error("out-of-bounds", nullptr, 0, std::to_string(bytes) + " bytes");
    last_report = take_report();
    return CUDA_ERROR_ILLEGAL_ADDRESS;
  }
  std::memcpy(dst, src, bytes);
  if (check_dst && check_src) {
    machine->copied(dst, src, bytes);
  } else if (check_dst) {
    machine->written(dst, bytes);
  }
  return CUDA_SUCCESS;
}

struct Copied {  // kernel parameters, which the caller's stack does not keep
  const void *kernel;
  dim3 grid, block;
  size_t shared;
  std::vector<std::vector<char>> values;
};

/// RLHF4J_EMULATOR_FAIL=KERNEL:N asks that the N-th launch fails of the kernels whose names begin so: for tests of what the
/// programs above do then.
bool asked_to_fail(const std::string &kernel) {
  static const std::string asked = [] {
    const char *value = std::getenv("RLHF4J_EMULATOR_FAIL");
    return std::string(value ? value : "");
  }();
  const size_t colon = asked.find(':');
  if (colon == std::string::npos || kernel.compare(0, colon, asked, 0, colon) != 0) return false;
  static int64_t launches = 0;
  return ++launches == std::atoll(asked.c_str() + colon + 1);
}

/// RLHF4J_EMULATOR_LAUNCHES=FILE: how many launches of each kernel and how many copies there were, written when the process ends.
class Launches {
 public:
  Launches() : file_(std::getenv("RLHF4J_EMULATOR_LAUNCHES")) {}
  ~Launches() {
    if (!file_) return;
    std::ofstream out(file_);
    for (const auto &[name, count] : counts_) out << count << " " << name << "\n";
  }
  void count(const std::string &name) {
    if (file_) counts_[name]++;
  }

 private:
  const char *file_;
  std::map<std::string, int64_t> counts_;
};
Launches launches;

CUresult run_kernel(Copied &launch) {
  const std::string &name = machine->name_of(launch.kernel);
  launches.count(name);
  if (asked_to_fail(name)) {
    last_report = name + ": failed, as RLHF4J_EMULATOR_FAIL asks";
    return broken = CUDA_ERROR_LAUNCH_FAILED;
  }
  std::vector<void *> values;
  for (auto &value : launch.values) values.push_back(value.data());
  machine->run(launch.kernel, launch.grid, launch.block, launch.shared, values.data());
  if (!has_errors()) return CUDA_SUCCESS;
  last_report = take_report();
  return CUDA_ERROR_LAUNCH_FAILED;
}

// ---- the functions of cuda/driver.def

CUresult CUDAAPI cuInit(unsigned) { return CUDA_SUCCESS; }
CUresult CUDAAPI cuDriverGetVersion(int *version) {
  *version = CUDA_VERSION;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuGetErrorName(CUresult error, const char **name) {
  switch (error) {
    case CUDA_SUCCESS:
      *name = "CUDA_SUCCESS";
      return CUDA_SUCCESS;
    case CUDA_ERROR_OUT_OF_MEMORY:
      *name = "CUDA_ERROR_OUT_OF_MEMORY";
      return CUDA_SUCCESS;
    case CUDA_ERROR_ILLEGAL_ADDRESS:
      *name = "CUDA_ERROR_ILLEGAL_ADDRESS";
      return CUDA_SUCCESS;
    case CUDA_ERROR_INVALID_PTX:
      *name = "CUDA_ERROR_INVALID_PTX";
      return CUDA_SUCCESS;
    case CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED:
      *name = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED";
      return CUDA_SUCCESS;
    case CUDA_ERROR_LAUNCH_FAILED:
      *name = "CUDA_ERROR_LAUNCH_FAILED";
      return CUDA_SUCCESS;
    default:
      *name = nullptr;
      return CUDA_ERROR_INVALID_VALUE;
  }
}
CUresult CUDAAPI cuDeviceGetCount(int *count) {
  *count = 1;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuDeviceGet(CUdevice *device, int index) {
  *device = index;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuDeviceGetName(char *name, int length, CUdevice) {
  std::snprintf(name, static_cast<size_t>(length), "%s", machine->name().c_str());
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice) {
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      *value = machine->compute_capability() / 10;
      return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      *value = machine->compute_capability() % 10;
      return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      *value = 4;
      return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      *value = 163 << 10;  // an A100's
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}
CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice) {
  *context = reinterpret_cast<CUcontext>(&mutex);  // any address
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuDevicePrimaryCtxRelease(CUdevice) { return CUDA_SUCCESS; }
CUresult CUDAAPI cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }

CUresult CUDAAPI cuMemGetInfo(size_t *free, size_t *total) {
  *free = free_global_bytes();
  *total = global_memory().capacity;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuMemAlloc(CUdeviceptr *block, size_t bytes) {
  const Lock lock(mutex);
  if (broken != CUDA_SUCCESS) return broken;
  void *memory = allocate_global(bytes);
  *block = reinterpret_cast<CUdeviceptr>(memory);
  return memory ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult CUDAAPI cuMemFree(CUdeviceptr block) {
  const Lock lock(mutex);
  const CUresult result = work_off_all();
  free_global(address(block));
  return result;
}
CUresult CUDAAPI cuMemHostAlloc(void **block, size_t bytes, unsigned) {
  const Lock lock(mutex);
  *block = allocate_pinned(bytes);
  if (!*block) return CUDA_ERROR_OUT_OF_MEMORY;
  machine->lend(*block, bytes);
  machine->written(*block, bytes);
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuMemFreeHost(void *block) {
  const Lock lock(mutex);
  work_off_all();
  machine->lend(block, 0);
  free_pinned(block);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemcpyHtoDAsync(CUdeviceptr dst, const void *src, size_t bytes, CUstream stream) {
  launches.count("copy to device");
  const Lock lock(mutex);
  queue(stream, [=] { return copy(address(dst), src, bytes, true, false); });
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuMemcpyDtoHAsync(void *dst, CUdeviceptr src, size_t bytes, CUstream stream) {
  launches.count("copy to host");
  const Lock lock(mutex);
  queue(stream, [=] { return copy(dst, address(src), bytes, false, true); });
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuMemcpyDtoDAsync(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream) {
  const Lock lock(mutex);
  queue(stream, [=] { return copy(address(dst), address(src), bytes, true, true); });
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamCreate(CUstream *stream, unsigned) {
  const Lock lock(mutex);
  *stream = new CUstream_st;
  streams.insert(*stream);
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuStreamDestroy(CUstream stream) {
  const Lock lock(mutex);
  work_off(stream);
  streams.erase(stream);
  delete stream;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuStreamSynchronize(CUstream stream) {
  const Lock lock(mutex);
  return work_off(stream);
}
CUresult CUDAAPI cuEventCreate(CUevent *event, unsigned) {
  *event = new CUevent_st;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuEventDestroy(CUevent event) {
  delete event;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuEventRecord(CUevent event, CUstream stream) {
  event->stream = stream;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuEventSynchronize(CUevent event) {
  const Lock lock(mutex);
  return event->stream ? work_off(event->stream) : CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode) {
  const Lock lock(mutex);
  if (stream->captured) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  stream->captured = new CUgraph_st;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuStreamEndCapture(CUstream stream, CUgraph *graph) {
  const Lock lock(mutex);
  *graph = std::exchange(stream->captured, nullptr);
  return *graph ? CUDA_SUCCESS : CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}
CUresult CUDAAPI cuGraphInstantiateWithFlags(CUgraphExec *executable, CUgraph graph, unsigned long long) {
  *executable = new CUgraphExec_st{*graph};
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuGraphDestroy(CUgraph graph) {
  delete graph;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuGraphLaunch(CUgraphExec graph, CUstream stream) {
  const Lock lock(mutex);
  if (broken != CUDA_SUCCESS) return broken;
  launches.count("graph");
  for (const auto &task : graph->tasks) queue(stream, task);
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuGraphExecDestroy(CUgraphExec graph) {
  delete graph;  // what was launched has its own copy of the tasks
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuModuleLoadData(CUmodule *module, const void *image) {
  const Lock lock(mutex);
  *module = static_cast<CUmodule>(machine->load(image));
  if (*module) return CUDA_SUCCESS;
  last_report = take_report();
  return CUDA_ERROR_INVALID_PTX;
}
CUresult CUDAAPI cuModuleUnload(CUmodule module) {
  const Lock lock(mutex);
  const CUresult result = work_off_all();
  machine->unload(module);
  return result;
}
CUresult CUDAAPI cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
  const void *kernel = machine->find(module, name);
  *function = static_cast<CUfunction>(const_cast<void *>(kernel));
  return kernel ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
CUresult CUDAAPI cuFuncGetParamInfo(CUfunction function, size_t i, size_t *offset, size_t *size) {
  const auto &sizes = machine->parameter_sizes(function);
  if (i >= sizes.size()) return CUDA_ERROR_INVALID_VALUE;
  *offset = 0;
  *size = sizes[i];
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }

CUresult CUDAAPI cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                                unsigned bz, unsigned shared, CUstream stream, void **values, void **) {
  const Lock lock(mutex);
  if (broken != CUDA_SUCCESS) return broken;
  Copied launch{function, dim3(gx, gy, gz), dim3(bx, by, bz), shared, {}};
  const auto &sizes = machine->parameter_sizes(function);
  for (size_t i = 0; i < sizes.size(); i++) {
    const char *value = static_cast<const char *>(values[i]);
    launch.values.emplace_back(value, value + sizes[i]);
  }
  queue(stream, [launch]() mutable { return run_kernel(launch); });
  return CUDA_SUCCESS;
}

void lent(CUdeviceptr block, size_t bytes, CUstream stream) {
  const Lock lock(mutex);
  queue(stream, [=] {
    machine->lend(address(block), bytes);
    return CUDA_SUCCESS;
  });
}

const char *report() { return last_report.c_str(); }

}  // namespace

void enqueue(CUstream stream, const std::string &name, std::function<void(Machine &)> work) {
  const Lock lock(mutex);
  queue(stream, [name, work] {
    begin_report(name);
    work(*machine);
    if (!has_errors()) return CUDA_SUCCESS;
    last_report = take_report();
    return CUDA_ERROR_LAUNCH_FAILED;
  });
}

const cuda::Driver &emulated_driver(Machine &of) {
  machine = &of;
  static const cuda::Driver driver = [] {
    cuda::Driver d;
#define RL_DRIVER(name) d.name = &name;
#include "cuda/driver.def"
#undef RL_DRIVER
    d.lent = &lent;
    d.report = &report;
    return d;
  }();
  return driver;
}

}  // namespace rl::emulator
