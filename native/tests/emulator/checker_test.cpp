// The checker must find what is wrong in tests/kernels/broken.cu, for the right reason and with file and line, and must leave
// the right kernels there alone. Without that, a clean run of the other tests would mean nothing.
#include "emulator/checker.h"

#include <cuda_bf16.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/emulator/bare_kernels.h"

namespace rl::emulator {

const bool checked = true;

namespace {

class Checker : public BareKernels {
 protected:
  /// kernel(x, y), x of 256 values and y of 128 without, or of zeros.
  CUresult run(const char *kernel, unsigned blocks = 1, unsigned shared = 0, bool zeros = false) {
    const std::vector<float> values(256, 1.0f), none(128, 0.0f);
    Vector x(stream_, 1024, values.data()), y(stream_, 512, zeros ? none.data() : nullptr);
    return launch(kernel, blocks, 128, shared, {&x.pointer(), &y.pointer()});
  }
  /// kernel(y), y of 128 values.
  CUresult run_on_y(const char *kernel, unsigned blocks = 1) {
    const std::vector<float> values(128, 0.0f);
    Vector y(stream_, 512, values.data());
    return launch(kernel, blocks, 128, 0, {&y.pointer()});
  }
  void expect_caught(CUresult result, const char *kernel, const char *kind) {
    EXPECT_EQ(result, CUDA_ERROR_LAUNCH_FAILED) << kernel;
    const std::string report = driver.report();
    EXPECT_EQ(report.rfind(std::string(kernel) + ": " + kind + " at ", 0), 0u) << report;
    EXPECT_NE(report.find("broken.cu:"), std::string::npos) << report;
    EXPECT_NE(report.find("thread "), std::string::npos) << report;
  }
};

TEST_F(Checker, LeavesRightKernelsAlone) {
  for (const char *order : {"forward", "reverse", "random"}) {
    for (const char *copies : {"late", "early", "random"}) {
      setenv("RLHF4J_EMULATOR_ORDER", order, 1);
      setenv("RLHF4J_EMULATOR_COPIES", copies, 1);
      for (const char *kernel : {"reverse", "warp_exchange", "copy_waited_for", "drops_in_own_copy"}) {
        EXPECT_EQ(run(kernel), CUDA_SUCCESS) << driver.report();
      }
      EXPECT_EQ(run_on_y("blocks_add", 3), CUDA_SUCCESS) << driver.report();
      EXPECT_EQ(run_on_y("sum_read_behind_own_barrier"), CUDA_SUCCESS) << driver.report();
      EXPECT_EQ(run("stages_in_turn", 3, 0, true), CUDA_SUCCESS) << driver.report();
    }
  }
}

TEST_F(Checker, FindsRaces) {
  for (const char *kernel :
       {"barrier_removed", "second_barrier_removed", "shuffle_as_barrier", "warp_barrier_for_block"}) {
    setenv("RLHF4J_EMULATOR_ORDER", "random", 1);
    const CUresult result = run(kernel);
    EXPECT_EQ(result, CUDA_ERROR_LAUNCH_FAILED) << kernel;
    EXPECT_NE(std::string(driver.report()).find(": race at broken.cu:"), std::string::npos) << driver.report();
  }
  unsetenv("RLHF4J_EMULATOR_ORDER");
  expect_caught(run_on_y("blocks_share", 2), "blocks_share", "race-between-blocks");
  expect_caught(run_on_y("atomic_and_plain", 1), "atomic_and_plain", "race");
}

// What a kernel that adds up in no order may not do: add without atomics or to what nobody zeroed, read a sum to which others
// may still add, or lose the barrier and the second buffer of what it stages.
TEST_F(Checker, FindsWhatIsWrongWithSumsInNoOrder) {
  expect_caught(run_on_y("blocks_add_plainly", 2), "blocks_add_plainly", "race-between-blocks");
  expect_caught(run("adds_to_what_nobody_wrote"), "adds_to_what_nobody_wrote", "uninitialised");
  expect_caught(run_on_y("sum_read_behind_own_barrier", 2), "sum_read_behind_own_barrier", "race-between-blocks");
  expect_caught(run_on_y("sum_read_by_who_added_last"), "sum_read_by_who_added_last", "race");
  for (const char *order : {"forward", "reverse", "random"}) {
    setenv("RLHF4J_EMULATOR_ORDER", order, 1);
    expect_caught(run("stages_in_one_buffer", 1, 0, true), "stages_in_one_buffer", "race");
    expect_caught(run("stages_without_barrier", 1, 0, true), "stages_without_barrier", "uninitialised-shared");
  }
}

TEST_F(Checker, FindsAccessesOutOfBounds) {
  expect_caught(run("index_off_by_one"), "index_off_by_one", "out-of-bounds-shared");
  expect_caught(run("dynamic_too_small", 1, 508), "dynamic_too_small", "out-of-bounds-shared");
  expect_caught(run("missing_guard", 2), "missing_guard", "out-of-bounds");
  expect_caught(run_on_y("wild_pointer"), "wild_pointer", "wild-address");
  const std::vector<float> values(100, 1.0f);
  Vector x(stream_, 400, values.data()), y(stream_, 400, nullptr);
  int64_t n = 100;
  expect_caught(launch("wrong_guard", 1, 128, 0, {&x.pointer(), &y.pointer(), &n}), "wrong_guard", "out-of-bounds");
}

TEST_F(Checker, FindsWhatNobodyWrote) {
  expect_caught(run_on_y("half_initialised"), "half_initialised", "uninitialised-shared");
  Vector x(stream_, 512, nullptr), y(stream_, 512, nullptr);
  expect_caught(launch("reads_what_nobody_wrote", 1, 128, 0, {&x.pointer(), &y.pointer()}), "reads_what_nobody_wrote",
                "uninitialised");
}

TEST_F(Checker, FindsMisalignedVectors) { expect_caught(run("misaligned_vector"), "misaligned_vector", "misaligned"); }

TEST_F(Checker, FindsDivergence) {
  expect_caught(run_on_y("barrier_in_branch"), "barrier_in_branch", "divergent-barrier");
  expect_caught(run_on_y("two_barriers"), "two_barriers", "divergent-barrier");
  EXPECT_EQ(run_on_y("shuffle_in_branch"), CUDA_ERROR_LAUNCH_FAILED);
  EXPECT_NE(std::string(driver.report()).find("deadlock at broken.cu:"), std::string::npos) << driver.report();
  EXPECT_NE(std::string(driver.report()).find("64 wait in __shfl_sync mask ffffffff"), std::string::npos)
      << driver.report();
  EXPECT_EQ(run_on_y("shuffle_from_absent"), CUDA_ERROR_LAUNCH_FAILED);
  EXPECT_NE(std::string(driver.report()).find("shuffle-from-absent-lane"), std::string::npos) << driver.report();
  expect_caught(run_on_y("lane_not_in_mask"), "lane_not_in_mask", "bad-mask");
}

TEST_F(Checker, FindsCopiesThatAreNotWaitedFor) {
  for (const char *copies : {"late", "early"}) {  // even where the copy has happened by luck
    setenv("RLHF4J_EMULATOR_COPIES", copies, 1);
    expect_caught(run("weaker_wait"), "weaker_wait", "copy-race");
    EXPECT_EQ(run("copy_without_barrier"), CUDA_ERROR_LAUNCH_FAILED);
    EXPECT_EQ(run("drops_in_anothers_copy"), CUDA_ERROR_LAUNCH_FAILED);
    EXPECT_NE(std::string(driver.report()).find("race at broken.cu:"), std::string::npos) << driver.report();
    expect_caught(run("drops_under_copy"), "drops_under_copy", "copy-race");
    expect_caught(run("copy_never_waited_for"), "copy_never_waited_for", "copy-not-waited-for");
  }
}

TEST_F(Checker, RefusesTooManyThreads) {
  const std::vector<float> values(256, 1.0f);
  Vector x(stream_, 1024, values.data()), y(stream_, 1024, nullptr);
  EXPECT_EQ(launch("reverse", 1, 256, 0, {&x.pointer(), &y.pointer()}), CUDA_ERROR_LAUNCH_FAILED);
  EXPECT_NE(std::string(driver.report()).find("bad-launch"), std::string::npos) << driver.report();
}

// Fragments that are wrong are no memory error: the numbers tell.
TEST_F(Checker, TensorCoresFollowThePtxManual) {
  std::vector<__nv_bfloat16> a(256), b(128);
  for (size_t i = 0; i < a.size(); i++) a[i] = __float2bfloat16(static_cast<float>(i % 7) - 3);
  for (size_t i = 0; i < b.size(); i++) b[i] = __float2bfloat16(static_cast<float>(i % 5) - 2);
  for (const char *kernel : {"tile_product", "wrong_fragment"}) {
    Vector da(stream_, 512, a.data()), db(stream_, 256, b.data()), dc(stream_, 512, nullptr);
    ASSERT_EQ(launch(kernel, 1, 32, 0, {&da.pointer(), &db.pointer(), &dc.pointer()}), CUDA_SUCCESS) << driver.report();
    std::vector<float> c(128);
    driver.cuMemcpyDtoHAsync(c.data(), dc.pointer(), 512, stream_);
    ASSERT_EQ(driver.cuStreamSynchronize(stream_), CUDA_SUCCESS);
    int wrong = 0;
    for (size_t i = 0; i < 16; i++) {
      for (size_t j = 0; j < 8; j++) {
        float sum = 0;
        for (size_t k = 0; k < 16; k++) sum += __bfloat162float(a[i * 16 + k]) * __bfloat162float(b[j * 16 + k]);
        wrong += sum != c[i * 8 + j];
      }
    }
    EXPECT_EQ(wrong > 0, std::string(kernel) == "wrong_fragment") << kernel;
  }
}

}  // namespace
}  // namespace rl::emulator
