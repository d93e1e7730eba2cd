// Kernels of a test's own on the emulated driver, without the library.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "emulator/driver.h"

namespace rl::emulator {

inline const cuda::Driver &driver = emulated_driver(fiber_machine());

/// Device memory with values, or with none.
class Vector {
 public:
  Vector(CUstream stream, size_t bytes, const void *values) : stream_(stream) {
    driver.cuMemAlloc(&block_, bytes);
    driver.lent(block_, bytes, stream);
    if (values) driver.cuMemcpyHtoDAsync(block_, values, bytes, stream);
  }
  ~Vector() {
    driver.lent(block_, 0, stream_);
    driver.cuMemFree(block_);
  }
  Vector(const Vector &) = delete;
  CUdeviceptr &pointer() { return block_; }

 private:
  CUstream stream_;
  CUdeviceptr block_ = 0;
};

class BareKernels : public testing::Test {
 protected:
  void SetUp() override {
    unsetenv("RLHF4J_EMULATOR_ORDER");
    unsetenv("RLHF4J_EMULATOR_COPIES");
    driver.cuStreamCreate(&stream_, 0);
  }
  void TearDown() override { driver.cuStreamDestroy(stream_); }

  CUresult launch(const char *kernel, unsigned blocks, unsigned threads, unsigned shared, std::vector<void *> values) {
    CUmodule module = nullptr;
    CUfunction function = nullptr;
    driver.cuModuleLoadData(&module, nullptr);
    EXPECT_EQ(driver.cuModuleGetFunction(&function, module, kernel), CUDA_SUCCESS) << kernel;
    driver.cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, shared, stream_, values.data(), nullptr);
    return driver.cuStreamSynchronize(stream_);
  }

  CUstream stream_ = nullptr;
};

}  // namespace rl::emulator
