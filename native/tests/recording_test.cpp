// Recordings: what is noted once and launched often does what the ops do one by one; and what may not happen in between.
#include <thread>

#include "support.h"

namespace rl::test {
namespace {

bool can_record() {
  int32_t yes = 0;
  EXPECT_EQ(rl_device_can_record(&yes, device()), RL_OK) << rl_last_error();
  return yes != 0;
}

/// y = rms_norm(x W^T) by way of a tensor that lives no longer than this.
void step(const rl_tensor *y, const Tensor &x, const WeightHandle &w, const Tensor &gain) {
  Tensor product({5, 24});
  RL_CHECK(rl_linear(product, x, w, nullptr, 0));
  RL_CHECK(rl_rms_norm(y, product, gain, 1e-5f));
}

class RecordingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!can_record()) GTEST_SKIP() << "this device does each op at once";
  }
  void record(rl_recording &recording) {
    RL_CHECK(rl_recording_begin(device()));
    step(y, x, w, gain);
    RL_CHECK(rl_recording_end(&recording, device()));
  }

  Tensor matrix{{24, 40}, random_floats(24 * 40, 1)}, gain{{24}, random_floats(24, 2)};
  WeightHandle w{matrix, true};
  Tensor x{{5, 40}, random_floats(5 * 40, 3)}, y{{5, 24}, Floats(5 * 24, 7)};
};

TEST(Recording, IsRefusedWhereEachOpIsDoneAtOnce) {
  if (can_record()) return;
  expect_error(rl_recording_begin(device()), RL_UNSUPPORTED, {"recording_begin", "record"});
  expect_error(rl_recording_end(nullptr, device()), RL_INVALID_ARGUMENT, {"open recording", "none"});
}

TEST_F(RecordingTest, EachLaunchReadsWhatLiesThereThen) {
  rl_recording recording = 0;
  record(recording);
  EXPECT_EQ(y.get(), Floats(5 * 24, 7)) << "noted, not done";
  Tensor want({5, 24});
  for (uint32_t seed : {3u, 4u, 5u}) {
    x.set(random_floats(5 * 40, seed));
    step(want, x, w, gain);
    RL_CHECK(rl_recording_launch(recording));
    EXPECT_EQ(y.get(), want.get()) << seed;
  }
  // Twice in a row, in the stream's order: the second adds to what the first has written.
  rl_recording twice = 0;
  Tensor sum({3}, Floats{1, 2, 3}), one({3}, Floats{1, 1, 1});
  RL_CHECK(rl_recording_begin(device()));
  RL_CHECK(rl_add(sum, sum, one));
  RL_CHECK(rl_recording_end(&twice, device()));
  RL_CHECK(rl_recording_launch(twice));
  RL_CHECK(rl_recording_launch(twice));
  EXPECT_EQ(sum.get(), (Floats{3, 4, 5}));
  RL_CHECK(rl_recording_free(recording));
  RL_CHECK(rl_recording_free(twice));
  expect_error(rl_recording_launch(twice), RL_INVALID_HANDLE, {"recording"});
  expect_error(rl_recording_free(twice), RL_INVALID_HANDLE, {"recording"});
}

TEST_F(RecordingTest, ItsMemoryIsNobodyElsesUntilItIsFreed) {
  rl_recording recording = 0;
  record(recording);
  // As large as what was allocated in between: that block is not given out, though it was freed.
  Tensor same({5, 24}, Floats(5 * 24, 9));
  RL_CHECK(rl_recording_launch(recording));
  EXPECT_EQ(same.get(), Floats(5 * 24, 9));
  int64_t in_use = 0, peak = 0, before = 0, after = 0;
  RL_CHECK(rl_device_trim(device()));
  RL_CHECK(rl_device_memory(&in_use, &peak, &before, device()));
  RL_CHECK(rl_recording_free(recording));
  RL_CHECK(rl_device_trim(device()));
  RL_CHECK(rl_device_memory(&in_use, &peak, &after, device()));
  EXPECT_LT(after, before);
}

TEST_F(RecordingTest, WhatItUsesMustBeAlive) {
  rl_recording recording = 0;
  {
    Tensor other({5, 40}, random_floats(5 * 40, 6));
    RL_CHECK(rl_recording_begin(device()));
    step(y, other, w, gain);
    RL_CHECK(rl_recording_end(&recording, device()));
  }
  expect_error(rl_recording_launch(recording), RL_INVALID_HANDLE, {"recording_launch", "buffer", "closed"});
  RL_CHECK(rl_recording_free(recording));
  {
    WeightHandle other(matrix, true);
    RL_CHECK(rl_recording_begin(device()));
    step(y, x, other, gain);
    RL_CHECK(rl_recording_end(&recording, device()));
  }
  expect_error(rl_recording_launch(recording), RL_INVALID_HANDLE, {"recording_launch", "weight", "closed"});
  RL_CHECK(rl_recording_free(recording));
}

TEST_F(RecordingTest, WhatNeedsTheDeviceToHaveWorkedIsRefused) {
  RL_CHECK(rl_recording_begin(device()));
  expect_error(rl_recording_begin(device()), RL_INVALID_ARGUMENT, {"open recording"});
  float values[5 * 40] = {};
  expect_error(rl_copy_from_host(x, values, sizeof values), RL_INVALID_ARGUMENT, {"copy_from_host", "record"});
  expect_error(rl_copy_to_host(values, x, sizeof values), RL_INVALID_ARGUMENT, {"copy_to_host", "record"});
  expect_error(rl_device_synchronize(device()), RL_INVALID_ARGUMENT, {"synchronize", "record"});
  rl_weight packed = 0;
  expect_error(rl_weight_pack(&packed, matrix, 0), RL_INVALID_ARGUMENT, {"weight_pack", "record"});
  RL_CHECK(rl_device_trim(device()));  // nothing to do
  std::thread([&] {
    expect_error(rl_fill(y, 0), RL_INVALID_ARGUMENT, {"fill", "another thread"});
    rl_buffer b = 0;
    expect_error(rl_buffer_alloc(&b, device(), 4), RL_INVALID_ARGUMENT, {"another thread"});
    expect_error(rl_recording_end(nullptr, device()), RL_INVALID_ARGUMENT, {"another thread"});
  }).join();
  expect_error(rl_fill(nullptr, 0), RL_INVALID_ARGUMENT, {"fill"});  // no op: the recording goes on
  RL_CHECK(rl_fill(y, 4));
  rl_recording recording = 0;
  RL_CHECK(rl_recording_end(&recording, device()));
  RL_CHECK(rl_recording_launch(recording));
  EXPECT_EQ(y.get(), Floats(5 * 24, 4));
  RL_CHECK(rl_recording_free(recording));
}

TEST_F(RecordingTest, BuffersThatStayAreAnErrorAndNothingIsKept) {
  rl_recording recording = 0;
  RL_CHECK(rl_recording_begin(device()));
  {
    Tensor stays({8});
    RL_CHECK(rl_fill(stays, 1));
    expect_error(rl_recording_end(&recording, device()), RL_INVALID_ARGUMENT, {"allocated", "found 1"});
    RL_CHECK(rl_fill(stays, 2));  // done now, for the recording is over
    EXPECT_EQ(stays.get(), Floats(8, 2));
  }
  RL_CHECK(rl_recording_begin(device()));
  RL_CHECK(rl_fill(y, 5));
  RL_CHECK(rl_recording_end(nullptr, device()));  // dropped
  EXPECT_EQ(y.get(), Floats(5 * 24, 7));
}

TEST_F(RecordingTest, WrongValuesAreReportedAtTheNextWait) {
  Tensor table({4, 24}, random_floats(4 * 24, 8)), ids({5}, Ints{0, 1, 2, 3, 0});
  rl_recording recording = 0;
  RL_CHECK(rl_recording_begin(device()));
  RL_CHECK(rl_embedding(y, table, ids));
  RL_CHECK(rl_recording_end(&recording, device()));
  RL_CHECK(rl_recording_launch(recording));
  RL_CHECK(rl_device_synchronize(device()));
  const Ints wrong = {0, 1, 9, 3, 0};
  RL_CHECK(rl_copy_from_host(ids, wrong.data(), 20));
  RL_CHECK(rl_recording_launch(recording));
  expect_error(rl_device_synchronize(device()), RL_INVALID_ARGUMENT, {"embedding", "ids[2] is 9, expected 0 to 3"});
  RL_CHECK(rl_recording_free(recording));
}

TEST_F(RecordingTest, ADeviceIsClosedWithItsRecordings) {
  rl_device d = 0;
  RL_CHECK(rl_device_open(&d, backend(), 0, 0));
  rl_tensor t{};
  t.rank = 1;
  t.shape[0] = 2;
  t.stride[0] = 1;
  RL_CHECK(rl_buffer_alloc(&t.buffer, d, 8));
  rl_recording recording = 0;
  RL_CHECK(rl_recording_begin(d));
  RL_CHECK(rl_fill(&t, 1));
  RL_CHECK(rl_recording_end(&recording, d));
  RL_CHECK(rl_recording_begin(d));  // and left open
  RL_CHECK(rl_device_close(d));
  expect_error(rl_recording_launch(recording), RL_INVALID_HANDLE, {"recording"});
  expect_error(rl_recording_end(nullptr, d), RL_INVALID_HANDLE, {"device"});
}

}  // namespace
}  // namespace rl::test
