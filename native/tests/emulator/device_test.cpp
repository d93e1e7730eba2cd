// What the CUDA backend's host code does beyond single ops: errors that come later, copies larger than the staging buffers,
// memory that is kept, what is refused. Runs on an emulated device, without RLHF4J_CUDA_BLOCKING.
#include "support.h"

namespace rl::test {
namespace {

TEST(CudaDevice, BadIdsAreReportedAtTheNextWait) {
  Tensor w({4, 3}, random_floats(12, 1)), y({2, 3}), ids({2}, Ints{1, 7});
  RL_CHECK(rl_embedding(y, w, ids));
  expect_error(rl_device_synchronize(device()), RL_INVALID_ARGUMENT,
               {"device_synchronize", "embedding", "ids[1] is 7, expected 0 to 3"});
  RL_CHECK(rl_device_synchronize(device()));  // once
  Tensor good({2}, Ints{1, 3});
  RL_CHECK(rl_embedding(y, w, good));
  EXPECT_EQ(y.get()[3], w.get()[9]);
}

TEST(CudaDevice, CopiesOfManyPieces) {
  const int64_t n = (int64_t{9} << 20) / 4 + 5;  // more than two staging buffers, and a rest
  Floats values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); i++) values[i] = static_cast<float>(i % 1000003);
  Tensor x({n}, values), y({n});
  RL_CHECK(rl_copy(y, x));
  EXPECT_EQ(y.get(), values);
}

TEST(CudaDevice, HeadsThatAreTooLargeAreRefused) {
  Tensor q({2, 1, 257}), k({2, 1, 257}), v({2, 1, 257}), o({2, 1, 257}), lse({1, 2}), cu({2}, Ints{0, 2});
  expect_error(rl_attention(o, lse, q, k, v, cu, 1, 0), RL_UNSUPPORTED, {"attention: heads of 257", "up to 256"});
  Tensor half({2, 1, 129}, RL_F16), out({2, 1, 129}, RL_F16), cache({1, 2, 1, 129}, RL_F16), slots({2}, Ints{0, 0}),
      lengths({2}, Ints{1, 2});
  expect_error(rl_attention(out, lse, half, half, half, cu, 1, 0), RL_UNSUPPORTED,
               {"attention: heads of 129", "up to 128 in f16"});
  expect_error(rl_attention_decode(out, half, cache, cache, slots, lengths, 1, 0), RL_UNSUPPORTED,
               {"attention_decode: q: ", "up to 128 columns in f16, found 129"});
}

TEST(CudaDevice, KeepsFreedMemoryUntilTrimmed) {
  int64_t use0, peak, reserved0, use1, reserved1;
  RL_CHECK(rl_device_trim(device()));
  RL_CHECK(rl_device_memory(&use0, &peak, &reserved0, device()));
  {
    Tensor x({1000, 1000});
  }
  RL_CHECK(rl_device_memory(&use1, &peak, &reserved1, device()));
  EXPECT_EQ(use1, use0);
  EXPECT_GE(peak, use0 + 4000000);
  EXPECT_GE(reserved1, reserved0 + 4000000);
  RL_CHECK(rl_device_trim(device()));
  RL_CHECK(rl_device_memory(&use1, &peak, &reserved1, device()));
  EXPECT_EQ(reserved1, reserved0);
  rl_buffer huge = 0;
  expect_error(rl_buffer_alloc(&huge, device(), int64_t{1} << 40), RL_OUT_OF_MEMORY, {"cannot allocate"});
}

TEST(CudaDevice, KnowsItsOwnMemory) {
  int64_t before = 0, total = 0, now = 0, same = 0;
  RL_CHECK(rl_device_trim(device()));
  RL_CHECK(rl_device_capacity(&before, &total, device()));
  EXPECT_GT(before, 0);
  EXPECT_LE(before, total);
  {
    Tensor x({1 << 20});
    RL_CHECK(rl_device_capacity(&now, &same, device()));
    if (std::string(backend()) != "cuda") {  // a real one serves others, too
      EXPECT_EQ(now, before - (4 << 20));
    }
    EXPECT_EQ(same, total);
  }
  RL_CHECK(rl_device_trim(device()));
}

TEST(CudaDevice, PeakHasTheScratchOfOps) {
  if (std::string(backend()) == "cuda") return;   // few parts there where a GPU is small
  constexpr int64_t rows = 2048, n = 64, k = 64;  // the weight's gradient is cut into parts, which are scratch
  Tensor x({rows, k}, Floats(rows * k, 1)), gradY({rows, n}, Floats(rows * n, 1)), gradW({n, k}, Floats(n * k));
  int64_t in_use = 0, peak = 0, reserved = 0;
  RL_CHECK(rl_device_reset_peak(device()));
  RL_CHECK(rl_linear_backward_weight(gradW, nullptr, gradY, x));
  RL_CHECK(rl_device_memory(&in_use, &peak, &reserved, device()));
  EXPECT_GE(peak, in_use + 2 * n * k * 4);
}

TEST(CudaDevice, ReadingWhatNobodyWroteIsAnErrorWithALine) {
  if (std::string(backend()) != "emulated-checked") return;  // the plain emulator does not look
  Tensor x({3, 8}), w({8}, Floats(8, 1.0f)), y({3, 8});
  RL_CHECK(rl_rms_norm(y, x, w, 1e-5f));
  expect_error(rl_device_synchronize(device()), RL_INTERNAL,
               {"CUDA_ERROR_LAUNCH_FAILED", "rms_norm_f32_f32: uninitialised at elementwise.h:", "thread"});
}

TEST(CudaDevice, DescribesItself) {
  char text[256];
  RL_CHECK(rl_device_describe(text, sizeof text, device()));
  EXPECT_NE(std::string(text).find("compute capability "), std::string::npos) << text;
  EXPECT_NE(std::string(rl_build_info()).find(backend()), std::string::npos) << rl_build_info();
}

TEST(CudaDevice, OrderIsAnOption) {
  rl_device d = 0;
  char text[256];
  RL_CHECK(rl_device_describe(text, sizeof text, device()));
  EXPECT_EQ(std::string(text).find("deterministic"), std::string::npos) << text;
  setenv("RLHF4J_CUDA_DETERMINISTIC", "no", 1);
  expect_error(rl_device_open(&d, backend(), 0, 0), RL_INVALID_ARGUMENT,
               {"RLHF4J_CUDA_DETERMINISTIC: expected one of 1, 0, found 'no'"});
  setenv("RLHF4J_CUDA_DETERMINISTIC", "0", 1);
  RL_CHECK(rl_device_open(&d, backend(), 0, 0));
  unsetenv("RLHF4J_CUDA_DETERMINISTIC");
  RL_CHECK(rl_device_describe(text, sizeof text, d));
  EXPECT_NE(std::string(text).find(", not deterministic"), std::string::npos) << text;
  RL_CHECK(rl_device_close(d));
}

TEST(CudaDevice, SaysWhatToDoWithoutADriver) {
  rl_device d = 0;
  if (std::string(backend()) != "cuda") {  // whose driver this process has already
    setenv("RLHF4J_CUDA_DRIVER", "libcuda-that-is-not-there.so", 1);
    expect_error(rl_device_open(&d, "cuda", 0, 0), RL_UNSUPPORTED,
                 {"no NVIDIA driver on this machine", "install the driver"});
    setenv("RLHF4J_CUDA_DRIVER", "libm.so.6", 1);  // a library without the functions
    expect_error(rl_device_open(&d, "cuda", 0, 0), RL_UNSUPPORTED, {"too old", "cuInit"});
    unsetenv("RLHF4J_CUDA_DRIVER");
  }
  expect_error(rl_device_open(&d, "cuda", -1, 0), RL_INVALID_ARGUMENT, {"index", "-1"});
  expect_error(rl_device_open(&d, backend(), 999, 0), RL_UNSUPPORTED, {"index", "0 to ", "999"});
  expect_error(rl_device_open(&d, "../cuda", 0, 0), RL_UNSUPPORTED, {"backend", "cpu, cuda"});
}

}  // namespace
}  // namespace rl::test
