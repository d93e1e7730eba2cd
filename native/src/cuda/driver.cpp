#include "cuda/driver.h"

#include <dlfcn.h>

#include <cstdlib>

namespace rl::cuda {
namespace {

// A driver serves binaries of its own CUDA release and of older ones; within a major release also of newer ones.
constexpr int kNeeded = CUDA_VERSION / 1000 * 1000;

#define RL_TEXT_OF(name) #name
#define RL_TEXT(name) RL_TEXT_OF(name)  // cuda.h renames functions: cuMemAlloc is cuMemAlloc_v2

Driver load() {
  // Named for tests of what is said where there is no driver, and for one that lies in an unusual place.
  const char *named = std::getenv("RLHF4J_CUDA_DRIVER");
  const char *name = named && *named ? named : "libcuda.so.1";
  void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    fail(RL_UNSUPPORTED,
         "no NVIDIA driver on this machine (%s); install the driver, or pass the GPU into the container (--gpus all)",
         dlerror());
  }
  Driver driver;
#define RL_DRIVER(function)                                                                                \
  driver.function = reinterpret_cast<decltype(driver.function)>(dlsym(library, RL_TEXT(function)));        \
  if (!driver.function) {                                                                                  \
    fail(RL_UNSUPPORTED, "the NVIDIA driver is too old: %s has no %s; update it to one for CUDA %d", name, \
         RL_TEXT(function), CUDA_VERSION / 1000);                                                          \
  }
#include "cuda/driver.def"
#undef RL_DRIVER
  return driver;
}

}  // namespace

void Driver::check(CUresult result, const char *what) const {
  if (result == CUDA_SUCCESS) return;
  const char *name = nullptr;
  cuGetErrorName(result, &name);
  const char *more = report ? report() : "";
  // A kernel's error comes out of whatever call waits next.
  const bool later = !report && (result == CUDA_ERROR_LAUNCH_FAILED || result == CUDA_ERROR_ILLEGAL_ADDRESS ||
                                 result == CUDA_ERROR_MISALIGNED_ADDRESS || result == CUDA_ERROR_ILLEGAL_INSTRUCTION);
  fail(result == CUDA_ERROR_OUT_OF_MEMORY ? RL_OUT_OF_MEMORY : RL_INTERNAL, "%s: %s%s%s%s", what,
       name ? name : "unknown CUDA error", later ? "; with RLHF4J_CUDA_BLOCKING=1 the error names its op" : "",
       *more ? "\n" : "", more);
}

const Driver &system_driver() {
  static const Driver driver = load();
  return driver;
}

void require_device(const Driver &driver, int32_t index) {
  int version = 0;
  if (driver.cuDriverGetVersion(&version) == CUDA_SUCCESS && version < kNeeded) {
    fail(RL_UNSUPPORTED,
         "the NVIDIA driver is too old: it serves CUDA %d.%d, and this build needs %d.0; update the driver",
         version / 1000, version % 1000 / 10, kNeeded / 1000);
  }
  const CUresult started = driver.cuInit(0);
  int count = 0;
  if (started == CUDA_SUCCESS) driver.check(driver.cuDeviceGetCount(&count), "cuDeviceGetCount");
  if (started == CUDA_ERROR_NO_DEVICE || (started == CUDA_SUCCESS && count == 0)) {
    fail(RL_UNSUPPORTED, "the NVIDIA driver finds no GPU; look at nvidia-smi, and at CUDA_VISIBLE_DEVICES");
  }
  if (started != CUDA_SUCCESS) {
    const char *name = nullptr;
    driver.cuGetErrorName(started, &name);
    fail(RL_UNSUPPORTED, "the NVIDIA driver does not start (%s); look at what nvidia-smi says",
         name ? name : "unknown");
  }
  if (index >= count) {
    fail(RL_UNSUPPORTED, "index: expected a GPU of 0 to %d, found %d", count - 1, index);
  }
  CUdevice device;
  int major = 0, minor = 0;
  driver.check(driver.cuDeviceGet(&device, index), "cuDeviceGet");
  driver.check(driver.cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device),
               "cuDeviceGetAttribute");
  driver.check(driver.cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device),
               "cuDeviceGetAttribute");
  if (major < 8) {
    fail(RL_UNSUPPORTED, "GPU %d has compute capability %d.%d, and 8.0 (A100, RTX 30) or newer is needed", index, major,
         minor);
  }
}

}  // namespace rl::cuda
