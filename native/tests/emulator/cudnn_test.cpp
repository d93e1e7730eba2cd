// Attention by cuDNN as far as it goes without a GPU: when it is called and what it is refused for, the kernels beside it, and the
// real library's own opinion of the graphs for GPUs that are not here (fake_cuda.cpp and an empty libcuda stand in for the driver's
// libraries, which it wants to see).
#include "cuda/cudnn.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "cuda/op.h"
#include "emulator/checker.h"
#include "emulator/driver.h"
#include "emulator/libraries.h"

namespace rl::emulator {

const bool checked = false;

namespace {

/// Notes what it is asked for.
class Noted final : public cuda::AttentionLibrary {
 public:
  static inline std::vector<std::string> calls;
  std::string name() const override { return "cuDNN of a test"; }
  void forward(cuda::CudaDevice &, CUstream, const cuda::AttentionTensors &x) override {
    calls.push_back("forward " + std::to_string(x.q.shape[1]) + "," + std::to_string(x.window));
  }
  void backward(cuda::CudaDevice &, CUstream, const cuda::AttentionTensors &x,
                const cuda::AttentionGradients &g) override {
    calls.push_back("backward " + std::to_string(x.lse.shape[0]) + "," + std::to_string(g.k.shape[1]));
  }
};

class CudnnTest : public testing::Test {
 protected:
  void TearDown() override {
    for (auto &[memory, bytes] : memory_) device_->release(memory, bytes);
    memory_.clear();
    device_.reset();
    unsetenv("RLHF4J_CUDA_ATTENTION");
  }
  void open(const char *attention, const cuda::Libraries &libraries = emulated_libraries()) {
    setenv("RLHF4J_CUDA_ATTENTION", attention, 1);
    static const char any = 0;
    static const cuda::KernelImages images = {{"emulated kernels", &any}};
    device_ = std::make_unique<cuda::CudaDevice>(cuda::ops, emulated_driver(fiber_machine()), images, 0, libraries);
  }
  template <class T>
  T *memory(const std::vector<T> &values) {
    const int64_t bytes = static_cast<int64_t>(values.size() * sizeof(T));
    void *block = device_->allocate(bytes);
    memory_.push_back({block, bytes});
    device_->copy_from_host(block, values.data(), bytes);
    return static_cast<T *>(block);
  }
  template <class T>
  std::vector<T> get(const T *from, size_t count) {
    std::vector<T> values(count);
    device_->copy_to_host(values.data(), from, static_cast<int64_t>(count * sizeof(T)));
    return values;
  }
  View tensor(int32_t dtype, const std::vector<int64_t> &shape) {
    View v;
    v.dtype = dtype;
    v.rank = static_cast<int32_t>(shape.size());
    std::copy(shape.begin(), shape.end(), v.shape);
    v.stride[0] = v.cols();
    v.data = memory(std::vector<uint8_t>(static_cast<size_t>(v.elements() * dtype_size(dtype)), 0));
    return v;
  }
  View sequences(const std::vector<int32_t> &cu) {
    View v = tensor(RL_I32, {static_cast<int64_t>(cu.size())});
    device_->copy_from_host(v.data, cu.data(), static_cast<int64_t>(cu.size() * 4));
    return v;
  }

  std::unique_ptr<cuda::CudaDevice> device_;

 private:
  std::vector<std::pair<void *, int64_t>> memory_;
};

TEST_F(CudnnTest, IsAskedIfChosen) {
  Noted::calls.clear();
  const cuda::Libraries libraries = {
      &open_emulated_cublaslt,
      [](std::string &) -> std::unique_ptr<cuda::AttentionLibrary> { return std::make_unique<Noted>(); }};
  for (const char *attention : {"own", "cudnn"}) {
    open(attention, libraries);
    const View q = tensor(RL_BF16, {5, 4, 32}), k = tensor(RL_BF16, {5, 2, 32}), lse = tensor(RL_F32, {4, 5}),
               cu = sequences({0, 2, 5});
    device_->begin_op();
    cuda::attention(*device_, tensor(RL_BF16, {5, 4, 32}), lse, q, k, k, cu, 0.5f, 3);
    device_->begin_op();
    cuda::attention_backward(*device_, tensor(RL_BF16, {5, 4, 32}), tensor(RL_BF16, {5, 2, 32}),
                             tensor(RL_BF16, {5, 2, 32}), q, q, lse, q, k, k, cu, 0.5f, 3);
    device_->synchronize();
    EXPECT_EQ(device_->describe().find("cuDNN of a test") != std::string::npos, std::string(attention) == "cudnn");
    if (std::string(attention) == "own") TearDown();
  }
  EXPECT_EQ(Noted::calls, (std::vector<std::string>{"forward 4,3", "backward 4,2"}));
}

TEST_F(CudnnTest, MissingIsAnError) {
  try {
    open("cudnn");
    FAIL() << "nothing was thrown";
  } catch (const Error &e) {
    EXPECT_EQ(e.status(), RL_UNSUPPORTED);
    EXPECT_NE(std::string(e.what()).find("RLHF4J_CUDA_ATTENTION=cudnn, and there is no cuDNN"), std::string::npos)
        << e.what();
  }
}

TEST_F(CudnnTest, OtherFilesAreRefused) {
  EXPECT_NE(cuda::load_cudnn("libnone-of-that-name.so").find("libnone-of-that-name.so"), std::string::npos);
  EXPECT_EQ(cuda::load_cudnn("libm.so.6"), "libm.so.6 has no cudnnGetVersion");
}

TEST_F(CudnnTest, OffsetsAreThoseOfEachTensor) {
  open("own");
  int64_t *offsets = memory(std::vector<int64_t>(2 * 4));
  int32_t *lengths = memory(std::vector<int32_t>(3));
  cuda::cudnn_offsets(*device_, offsets, lengths, sequences({0, 2, 2, 7}), 7, {{96, 5}}, 2);
  EXPECT_EQ(get(offsets, 8), (std::vector<int64_t>{0, 192, 192, 672, 0, 10, 10, 35}));
  EXPECT_EQ(get(lengths, 3), (std::vector<int32_t>{2, 0, 5}));
  // What is no offset leads nowhere outside.
  cuda::cudnn_offsets(*device_, offsets, lengths, sequences({-5, 900, 3, 7}), 7, {{1, 1}}, 2);
  EXPECT_EQ(get(offsets, 4), (std::vector<int64_t>{0, 7, 3, 7}));
  EXPECT_EQ(get(lengths, 3), (std::vector<int32_t>{7, 0, 4}));
}

TEST_F(CudnnTest, Transposes) {
  open("own");
  std::vector<float> x(300 * 7), want(x.size());
  for (size_t i = 0; i < x.size(); i++) {
    x[i] = static_cast<float>(i);
    want[i % 7 * 300 + i / 7] = x[i];
  }
  float *y = memory(std::vector<float>(x.size()));
  cuda::cudnn_transpose(*device_, y, memory(x), 300, 7);
  EXPECT_EQ(get(y, x.size()), want);
}

/// A GPU as cuDNN describes one.
std::string gpu(const char *name, int capability, int multiprocessors, int shared) {
  return format(
      R"({"deviceName":"%s","deviceVer":%d,"smVersion":%d,"multiProcessorCount":%d,"maxSharedMemoryPerBlockOptin":%d,)"
      R"("maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],"regsPerBlock":65536,"warpSize":32,)"
      R"("maxSharedMemoryPerBlock":49152,"reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,)"
      R"("maxCtasPerSM":32,"maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,)"
      R"("supportCoopLaunch":1,"smClockRateKHz":1980000,"memClockRateKHz":2619000,"l2CacheSize":52428800,)"
      R"("driverVer":13000,"cudaDeviceId":0,"totalGlobalMem":85000000000})",
      name, capability, capability, multiprocessors, shared);
}

cuda::CudnnShape shape(bool backward, int64_t heads, int64_t kv_heads, int64_t size, int32_t dtype = RL_BF16) {
  const int64_t packed = (heads + 2 * kv_heads) * size, dense = heads * size;
  cuda::CudnnShape s{backward, dtype,  4,     2048, heads, kv_heads, size, packed,
                     packed,   packed, dense, 0,    0,     0,        0,    0.125f};
  if (backward) s.grad_q_stride = s.grad_k_stride = s.grad_v_stride = packed, s.grad_o_stride = dense;
  return s;
}

TEST_F(CudnnTest, TheRealLibraryHasTheGraphs) {
  if (!std::filesystem::exists(RL_CUDNN_FILE)) GTEST_SKIP() << "no " << RL_CUDNN_FILE;
  ASSERT_EQ(cuda::load_cudnn(RL_CUDNN_FILE), "");
  const std::string h100 = gpu("NVIDIA H100 80GB HBM3", 900, 132, 232448), b200 = gpu("NVIDIA B200", 1000, 148, 232448),
                    a100 = gpu("NVIDIA A100-SXM4-80GB", 800, 108, 166912);
  EXPECT_EQ(cuda::cudnn_refuses(shape(false, 32, 8, 128), b200, 100), "");
  EXPECT_EQ(cuda::cudnn_refuses(shape(false, 32, 8, 128), a100, 80), "");
  cuda::CudnnShape unordered = shape(true, 32, 8, 128);
  unordered.deterministic = false;
  EXPECT_EQ(cuda::cudnn_refuses(unordered, h100, 90), "");
  EXPECT_EQ(cuda::cudnn_refuses(unordered, b200, 100), "");
  EXPECT_EQ(cuda::cudnn_refuses(unordered, a100, 80), "");
  for (bool backward : {false, true}) {
    for (auto [heads, kv_heads, size] : {std::tuple(9, 3, 64), std::tuple(32, 8, 128), std::tuple(16, 16, 80)}) {
      EXPECT_EQ(cuda::cudnn_refuses(shape(backward, heads, kv_heads, size), h100, 90), "")
          << backward << " " << heads << " " << size;
    }
    EXPECT_EQ(cuda::cudnn_refuses(shape(backward, 32, 8, 128, RL_F16), h100, 90), "");
    EXPECT_NE(cuda::cudnn_refuses(shape(backward, 9, 2, 64), h100, 90), "") << "heads do not divide";
    EXPECT_NE(cuda::cudnn_refuses(shape(backward, 4, 4, 63), h100, 90), "") << "sizes are multiples of 8";
  }
}

}  // namespace
}  // namespace rl::emulator

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
