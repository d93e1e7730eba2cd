// The ABI itself: handles, checks of tensors, memory, threads. Whatever is passed, a call comes back with a status.
#include <atomic>
#include <climits>
#include <thread>

#include "support.h"

namespace rl::test {
namespace {

rl_tensor tensor_of(rl_buffer buffer, std::vector<int64_t> shape, int32_t dtype = RL_F32) {
  rl_tensor t{};
  t.buffer = buffer;
  t.dtype = dtype;
  t.rank = static_cast<int32_t>(shape.size());
  int64_t stride = 1;
  for (int i = t.rank - 1; i >= 0; i--) {
    t.shape[i] = shape[static_cast<size_t>(i)];
    t.stride[i] = stride;
    stride *= t.shape[i];
  }
  return t;
}

rl_device open_device(int32_t threads = 2) {
  rl_device d = 0;
  EXPECT_EQ(rl_device_open(&d, "cpu", 0, threads), RL_OK) << rl_last_error();
  return d;
}

TEST(Library, Describes) {
  EXPECT_EQ(rl_abi_version(), RL_ABI_VERSION);
  EXPECT_NE(std::string(rl_build_info()).find("rlhf4j"), std::string::npos);
  char text[200] = "", small[5] = "xxxx";
  RL_CHECK(rl_device_describe(text, sizeof text, device()));
  EXPECT_NE(std::string(text).find("threads"), std::string::npos) << text;
  RL_CHECK(rl_device_describe(small, sizeof small, device()));
  EXPECT_EQ(std::string(small), std::string(text).substr(0, 4));
  expect_error(rl_device_describe(text, 0, device()), RL_INVALID_ARGUMENT, {"device_describe", "text"});
  expect_error(rl_device_describe(nullptr, 9, device()), RL_INVALID_ARGUMENT, {"text"});
}

TEST(Devices, RefuseWhatIsNotThere) {
  rl_device d = 77;
  expect_error(rl_device_open(&d, "abacus", 0, 0), RL_UNSUPPORTED, {"device_open", "backend", "cpu", "abacus"});
  expect_error(rl_device_open(&d, "", 0, 0), RL_UNSUPPORTED, {"backend"});
  expect_error(rl_device_open(&d, nullptr, 0, 0), RL_INVALID_ARGUMENT, {"backend", "null"});
  expect_error(rl_device_open(nullptr, "cpu", 0, 0), RL_INVALID_ARGUMENT, {"device", "null"});
  expect_error(rl_device_open(&d, "cpu", 1, 0), RL_INVALID_ARGUMENT, {"index", "1"});
  expect_error(rl_device_open(&d, "cpu", -1, 0), RL_INVALID_ARGUMENT, {"index", "-1"});
  expect_error(rl_device_open(&d, "cpu", 0, -1), RL_INVALID_ARGUMENT, {"threads", "-1"});
  expect_error(rl_device_open(&d, "cpu", 0, INT32_MAX), RL_INVALID_ARGUMENT, {"threads"});
  EXPECT_EQ(d, 77u);
}

TEST(Devices, CloseTakesBuffersAndWeightsAlong) {
  const rl_device d = open_device();
  rl_buffer b = 0, unused = 0;
  RL_CHECK(rl_buffer_alloc(&b, d, 4096));
  const rl_tensor t = tensor_of(b, {32, 32});
  RL_CHECK(rl_fill(&t, 1));
  rl_weight packed = 0, view = 0;
  RL_CHECK(rl_weight_pack(&packed, &t, 1));
  RL_CHECK(rl_weight_view(&view, &t));
  RL_CHECK(rl_device_close(d));
  expect_error(rl_device_close(d), RL_INVALID_HANDLE, {"device_close", "closed"});
  expect_error(rl_fill(&t, 1), RL_INVALID_HANDLE, {"fill: y", "closed"});
  expect_error(rl_buffer_free(b), RL_INVALID_HANDLE, {"buffer_free", "closed"});
  expect_error(rl_weight_free(packed), RL_INVALID_HANDLE, {"weight_free", "closed"});
  expect_error(rl_weight_free(view), RL_INVALID_HANDLE, {"weight_free"});
  expect_error(rl_buffer_alloc(&unused, d, 1), RL_INVALID_HANDLE, {"buffer_alloc", "device is closed"});
  expect_error(rl_device_synchronize(d), RL_INVALID_HANDLE, {"closed"});
  expect_error(rl_device_trim(d), RL_INVALID_HANDLE, {"closed"});
  expect_error(rl_device_reset_peak(d), RL_INVALID_HANDLE, {"closed"});
  int64_t x;
  expect_error(rl_device_memory(&x, &x, &x, d), RL_INVALID_HANDLE, {"closed"});
  expect_error(rl_device_capacity(&x, &x, d), RL_INVALID_HANDLE, {"closed"});
  char text[9];
  expect_error(rl_device_describe(text, 9, d), RL_INVALID_HANDLE, {"closed"});
}

TEST(Buffers, DoubleFreeAndForgedHandles) {
  rl_buffer b = 0, again = 0;
  RL_CHECK(rl_buffer_alloc(&b, device(), 64));
  RL_CHECK(rl_buffer_free(b));
  expect_error(rl_buffer_free(b), RL_INVALID_HANDLE, {"buffer_free", "closed"});
  RL_CHECK(rl_buffer_alloc(&again, device(), 64));  // the slot is taken again; the old handle stays closed
  EXPECT_NE(b, again);
  expect_error(rl_buffer_free(b), RL_INVALID_HANDLE, {"closed"});
  for (uint64_t forged :
       {uint64_t{0}, uint64_t{1}, again + 1, again + (uint64_t{1} << 32), ~uint64_t{0}, uint64_t{0xffffffff}}) {
    expect_error(rl_buffer_free(forged), RL_INVALID_HANDLE, {"closed or was never opened"});
    expect_error(rl_weight_free(forged), RL_INVALID_HANDLE, {"closed or was never opened"});
    expect_error(rl_device_synchronize(forged | (uint64_t{1} << 63)), RL_INVALID_HANDLE,
                 {"closed or was never opened"});
  }
  RL_CHECK(rl_buffer_free(again));
}

TEST(Buffers, Sizes) {
  rl_buffer b = 0;
  expect_error(rl_buffer_alloc(&b, device(), -1), RL_INVALID_ARGUMENT, {"bytes", "-1"});
  expect_error(rl_buffer_alloc(&b, device(), INT64_MIN), RL_INVALID_ARGUMENT, {"bytes"});
  expect_error(rl_buffer_alloc(nullptr, device(), 1), RL_INVALID_ARGUMENT, {"buffer", "null"});
  expect_error(rl_buffer_alloc(&b, device(), INT64_MAX), RL_OUT_OF_MEMORY, {"buffer_alloc", "9223372036854775807"});
  expect_error(rl_buffer_alloc(&b, device(), INT64_MAX / 2), RL_OUT_OF_MEMORY, {"buffer_alloc"});
  RL_CHECK(rl_buffer_alloc(&b, device(), 0));
  rl_tensor t = tensor_of(b, {0, 8});
  RL_CHECK(rl_fill(&t, 1));
  RL_CHECK(rl_copy_to_host(nullptr, &t, 0));
  t = tensor_of(b, {1});
  expect_error(rl_fill(&t, 1), RL_INVALID_ARGUMENT,
               {"y: shape [1] of f32 needs 4 bytes from offset 0 on, its buffer has 0"});
  RL_CHECK(rl_buffer_free(b));
}

TEST(Memory, IsAccounted) {
  const rl_device d = open_device();
  int64_t in_use = -1, peak = -1, reserved = -1;
  auto memory = [&] { RL_CHECK(rl_device_memory(&in_use, &peak, &reserved, d)); };
  memory();
  EXPECT_EQ(in_use, 0);
  EXPECT_EQ(peak, 0);
  rl_buffer a = 0, b = 0;
  RL_CHECK(rl_buffer_alloc(&a, d, 1 << 20));
  RL_CHECK(rl_buffer_alloc(&b, d, 100000));
  memory();
  EXPECT_GE(in_use, (1 << 20) + 100000);
  EXPECT_LE(in_use, ((1 << 20) + 100000) * 9 / 8);
  EXPECT_EQ(peak, in_use);
  EXPECT_EQ(reserved, in_use);
  const int64_t both = in_use;
  // What an op needs meanwhile is neither a buffer nor a weight.
  const rl_tensor x = tensor_of(b, {100, 100}), g = tensor_of(a, {100, 100});
  const rl_buffer c = [&] {
    rl_buffer handle = 0;
    EXPECT_EQ(rl_buffer_alloc(&handle, d, 400), RL_OK);
    return handle;
  }();
  const rl_tensor index = tensor_of(c, {100}, RL_I32);
  RL_CHECK(rl_fill(&index, 3));
  RL_CHECK(rl_gather_rows_backward(&g, &x, &index));
  RL_CHECK(rl_buffer_free(c));
  memory();
  EXPECT_EQ(in_use, both);
  EXPECT_GE(reserved, both);
  RL_CHECK(rl_buffer_free(a));
  memory();
  EXPECT_LT(in_use, 100000 * 9 / 8);
  EXPECT_GE(peak, both);
  EXPECT_GE(reserved, both);  // kept for the next one
  RL_CHECK(rl_buffer_alloc(&a, d, 1 << 20));
  const int64_t before = reserved;
  memory();
  EXPECT_EQ(reserved, before);  // and used again
  RL_CHECK(rl_buffer_free(a));
  RL_CHECK(rl_device_reset_peak(d));
  memory();
  EXPECT_EQ(peak, in_use);
  RL_CHECK(rl_device_trim(d));
  memory();
  EXPECT_EQ(reserved, in_use);
  expect_error(rl_device_memory(nullptr, &peak, &reserved, d), RL_INVALID_ARGUMENT, {"device_memory", "null"});
  int64_t free = -1, total = -1;
  RL_CHECK(rl_device_capacity(&free, &total, d));
  EXPECT_EQ(free, 0) << "the CPU's memory is the process's";
  EXPECT_EQ(total, 0);
  expect_error(rl_device_capacity(&free, nullptr, d), RL_INVALID_ARGUMENT, {"device_capacity", "null"});
  RL_CHECK(rl_device_close(d));
}

TEST(HostCopies, SizesAndNulls) {
  Tensor t({3}, Floats{1, 2, 3});
  Floats host(3);
  expect_error(rl_copy_to_host(host.data(), t, 8), RL_INVALID_ARGUMENT,
               {"copy_to_host", "bytes: expected the tensor's 12, found 8"});
  expect_error(rl_copy_to_host(nullptr, t, 12), RL_INVALID_ARGUMENT, {"dst", "null"});
  expect_error(rl_copy_from_host(t, nullptr, 12), RL_INVALID_ARGUMENT, {"src", "null"});
  expect_error(rl_copy_from_host(t, host.data(), -12), RL_INVALID_ARGUMENT, {"found -12"});
  expect_error(rl_copy_from_host(nullptr, host.data(), 12), RL_INVALID_ARGUMENT, {"dst", "null"});
  Tensor m({4, 6});
  rl_tensor part = m.raw();
  part.shape[1] = 3;
  expect_error(rl_copy_to_host(host.data(), &part, 48), RL_INVALID_ARGUMENT, {"expected a dense tensor", "stride 6"});
}

TEST(Tensors, AreCheckedAgainstTheirBuffer) {
  rl_buffer b = 0;
  RL_CHECK(rl_buffer_alloc(&b, device(), 96));
  const rl_tensor good = tensor_of(b, {2, 3, 4});
  RL_CHECK(rl_fill(&good, 0));
  struct Bad {
    std::function<void(rl_tensor &)> spoil;
    const char *text;
  };
  const int64_t huge = INT64_MAX;
  for (const Bad &bad :
       std::vector<Bad>{{[](rl_tensor &t) { t.shape[0] = 3; }, "needs 144 bytes from offset 0 on, its buffer has 96"},
                        {[](rl_tensor &t) { t.offset = 4; }, "offset 4 on, its buffer has 96"},
                        {[](rl_tensor &t) { t.offset = 2; }, "offset 2 is not a multiple"},
                        {[](rl_tensor &t) { t.offset = -4; }, "offset -4"},
                        {[&](rl_tensor &t) { t.offset = huge - 3; }, "its buffer has 96"},
                        {[](rl_tensor &t) { t.offset = INT64_MIN; }, "offset -9223372036854775808"},
                        {[](rl_tensor &t) { t.shape[1] = -1; }, "dimension 1 is -1"},
                        {[](rl_tensor &t) { t.shape[0] = INT64_MIN; }, "dimension 0 is -9223372036854775808"},
                        {[&](rl_tensor &t) { t.shape[0] = huge; }, "dimension 0"},
                        {[&](rl_tensor &t) { t.shape[0] = int64_t{1} << 45; }, "too many elements"},
                        {[&](rl_tensor &t) {
                           t.shape[2] = int64_t{1} << 45;
                           t.stride[1] = int64_t{1} << 45;
                         },
                         "too many elements"},
                        {[](rl_tensor &t) { t.stride[0] = 11; }, "row stride 11 is below the row's 12 elements"},
                        {[](rl_tensor &t) { t.stride[0] = 0; }, "row stride 0"},
                        {[](rl_tensor &t) { t.stride[0] = -12; }, "row stride -12"},
                        {[](rl_tensor &t) { t.stride[0] = 13; }, "needs 100 bytes"},
                        {[&](rl_tensor &t) { t.stride[0] = huge; }, "row stride 9223372036854775807"},
                        {[](rl_tensor &t) { t.stride[1] = 5; }, "found stride 5 in dimension 1, not 4"},
                        {[](rl_tensor &t) { t.stride[2] = 2; }, "found stride 2 in dimension 2, not 1"},
                        {[](rl_tensor &t) { t.rank = 5; }, "expected rank 0 to 4, found 5"},
                        {[](rl_tensor &t) { t.rank = -1; }, "expected rank 0 to 4, found -1"},
                        {[](rl_tensor &t) { t.rank = INT32_MIN; }, "expected rank 0 to 4"},
                        {[](rl_tensor &t) { t.dtype = 5; }, "expected a dtype of rl_dtype, found 5"},
                        {[](rl_tensor &t) { t.dtype = -1; }, "expected a dtype of rl_dtype, found -1"}}) {
    rl_tensor t = good;
    bad.spoil(t);
    expect_error(rl_fill(&t, 1), RL_INVALID_ARGUMENT, {"fill: y: ", bad.text});
  }
  rl_tensor closed = good;
  closed.buffer = 0;
  expect_error(rl_fill(&closed, 1), RL_INVALID_HANDLE, {"fill: y: its buffer is closed or was never opened"});
  // What is beyond the rank, and strides of dimensions of one element, do not matter.
  rl_tensor t = tensor_of(b, {1, 24});
  t.stride[0] = -5;
  t.shape[2] = t.shape[3] = -7;
  RL_CHECK(rl_fill(&t, 1));
  RL_CHECK(rl_buffer_free(b));
}

TEST(Tensors, OfAnotherDeviceAreRefused) {
  const rl_device other = open_device();
  rl_buffer b = 0;
  RL_CHECK(rl_buffer_alloc(&b, other, 64));
  const rl_tensor foreign = tensor_of(b, {16});
  Tensor x({16}), y({16});
  expect_error(rl_add(y, x, &foreign), RL_INVALID_ARGUMENT, {"add: b: expected a tensor of the same device"});
  expect_error(rl_copy(&foreign, x), RL_INVALID_ARGUMENT, {"copy", "same device"});
  RL_CHECK(rl_device_close(other));
}

TEST(Tensors, OutputsDoNotOverlap) {
  Tensor m({8, 12});
  auto columns = [&](int64_t from, int64_t n, int64_t row, int64_t rows) {
    rl_tensor t = m.raw();
    t.offset = (row * 12 + from) * 4;
    t.shape[0] = rows;
    t.shape[1] = n;
    return t;
  };
  const rl_tensor left = columns(0, 6, 0, 8), right = columns(6, 6, 0, 8), middle = columns(3, 6, 0, 8);
  RL_CHECK(rl_copy(&left, &right));  // interleaved, but apart
  expect_error(rl_copy(&left, &middle), RL_INVALID_ARGUMENT, {"copy: y", "overlaps x"});
  expect_error(rl_copy(&middle, &right), RL_INVALID_ARGUMENT, {"overlaps"});
  const rl_tensor top = columns(0, 12, 0, 4), bottom = columns(0, 12, 4, 4), between = columns(0, 12, 3, 4);
  RL_CHECK(rl_copy(&top, &bottom));
  expect_error(rl_copy(&top, &between), RL_INVALID_ARGUMENT, {"overlaps"});
  // The last columns of row r and the first of row r + 1, seen as one tensor that wraps: shifted rows still collide.
  const rl_tensor wrapped = columns(9, 6, 0, 7);
  expect_error(rl_copy(&wrapped, &wrapped), RL_INVALID_ARGUMENT, {"overlaps"});
  rl_tensor head = columns(0, 6, 0, 7);
  expect_error(rl_copy(&head, &wrapped), RL_INVALID_ARGUMENT, {"overlaps"});
  // Two outputs may not share memory either.
  Tensor g({2, 4}), a({2, 4}), b({2, 4});
  expect_error(rl_swiglu_backward(g, g, a, a, b), RL_INVALID_ARGUMENT, {"gradGate", "gradUp"});
}

TEST(Weights, ViewsNeedTheirBuffer) {
  rl_buffer buffer = 0;
  RL_CHECK(rl_buffer_alloc(&buffer, device(), 32 * 32 * 4));
  const rl_tensor w = tensor_of(buffer, {32, 32});
  RL_CHECK(rl_fill(&w, 0.5));
  rl_weight view = 0;
  RL_CHECK(rl_weight_view(&view, &w));
  Tensor x({2, 32}, Floats(64, 1)), y({2, 32});
  RL_CHECK(rl_linear(y, x, view, nullptr, 0));
  EXPECT_EQ(y.get(), Floats(64, 16));
  rl_tensor over_w = tensor_of(buffer, {2, 32});
  expect_error(rl_linear(&over_w, x, view, nullptr, 0), RL_INVALID_ARGUMENT, {"linear: y", "overlaps weight"});
  RL_CHECK(rl_buffer_free(buffer));
  expect_error(rl_linear(y, x, view, nullptr, 0), RL_INVALID_HANDLE, {"linear: weight", "buffer", "closed"});
  RL_CHECK(rl_weight_free(view));
  expect_error(rl_weight_free(view), RL_INVALID_HANDLE, {"weight_free", "closed"});
  expect_error(rl_linear(y, x, view, nullptr, 0), RL_INVALID_HANDLE, {"linear: weight", "closed"});
  expect_error(rl_weight_pack(nullptr, x, 0), RL_INVALID_ARGUMENT, {"weight_pack: weight", "null"});
  expect_error(rl_weight_pack(&view, nullptr, 0), RL_INVALID_ARGUMENT, {"weight_pack: w", "null"});
  const rl_device other = open_device();
  rl_buffer b = 0;
  RL_CHECK(rl_buffer_alloc(&b, other, 32 * 32 * 4));
  const rl_tensor foreign = tensor_of(b, {32, 32});
  RL_CHECK(rl_weight_pack(&view, &foreign, 0));
  expect_error(rl_linear(y, x, view, nullptr, 0), RL_INVALID_ARGUMENT, {"same device"});
  RL_CHECK(rl_device_close(other));
}

TEST(Errors, AreOfTheCallingThread) {
  expect_error(rl_buffer_free(0), RL_INVALID_HANDLE, {"buffer_free"});
  std::string elsewhere = "unset";
  std::thread([&] {
    elsewhere = rl_last_error();
    rl_device_open(nullptr, "cpu", 0, 0);
  }).join();
  EXPECT_EQ(elsewhere, "");
  EXPECT_EQ(std::string(rl_last_error()).find("buffer_free"), 0u);
  Tensor fine({3});
  RL_CHECK(rl_fill(fine, 1));  // a success leaves the text alone
  EXPECT_EQ(std::string(rl_last_error()).find("buffer_free"), 0u);
}

TEST(Threads, ShareADevice) {
  const rl_device d = open_device();
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int id = 0; id < 6; id++) {
    threads.emplace_back([&, id] {
      for (int i = 0; i < 60; i++) {
        rl_buffer a = 0, b = 0;
        const int64_t n = 500 + 37 * id + i;
        wrong += rl_buffer_alloc(&a, d, n * 4) != RL_OK;
        wrong += rl_buffer_alloc(&b, d, n * 4) != RL_OK;
        const rl_tensor x = tensor_of(a, {n}), y = tensor_of(b, {n});
        wrong += rl_fill(&x, id) != RL_OK;
        wrong += rl_add(&y, &x, &x) != RL_OK;
        wrong += rl_add(&y, &y, &x) != RL_OK;
        Floats host(static_cast<size_t>(n));
        wrong += rl_copy_to_host(host.data(), &y, n * 4) != RL_OK;
        for (float v : host) wrong += v != static_cast<float>(3 * id);
        wrong += rl_buffer_free(a) != RL_OK;
        wrong += rl_fill(&x, 1) != RL_INVALID_HANDLE;
        wrong += rl_buffer_free(b) != RL_OK;
      }
    });
  }
  for (std::thread &t : threads) t.join();
  EXPECT_EQ(wrong, 0);
  int64_t in_use = -1, peak = 0, reserved = 0;
  RL_CHECK(rl_device_memory(&in_use, &peak, &reserved, d));
  EXPECT_EQ(in_use, 0);
  RL_CHECK(rl_device_close(d));
}

TEST(Threads, CloseUnderTheirFeet) {
  for (int round = 0; round < 10; round++) {
    const rl_device d = open_device();
    std::vector<std::thread> threads;
    std::atomic<bool> odd{false};
    for (int id = 0; id < 4; id++) {
      threads.emplace_back([&] {
        for (int i = 0;; i++) {
          rl_buffer b = 0;
          rl_weight w = 0;
          const rl_status opened = rl_buffer_alloc(&b, d, 64 * 64 * 4);
          if (opened == RL_INVALID_HANDLE) return;
          const rl_tensor t = tensor_of(b, {64, 64});
          const rl_status filled = rl_fill(&t, 1);
          const rl_status packed = rl_weight_pack(&w, &t, 0);
          const rl_status freed_weight = packed == RL_OK ? rl_weight_free(w) : packed;
          const rl_status freed = rl_buffer_free(b);
          for (rl_status s : {filled, packed, freed_weight, freed}) odd = odd || (s != RL_OK && s != RL_INVALID_HANDLE);
        }
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    RL_CHECK(rl_device_close(d));
    for (std::thread &t : threads) t.join();
    EXPECT_FALSE(odd);
  }
}

/// Numbers that break things.
int64_t nasty(std::mt19937_64 &random) {
  static const int64_t some[] = {0,
                                 1,
                                 2,
                                 3,
                                 4,
                                 7,
                                 8,
                                 16,
                                 64,
                                 100,
                                 -1,
                                 -2,
                                 INT32_MAX,
                                 INT32_MIN,
                                 INT64_MAX,
                                 INT64_MIN,
                                 int64_t{1} << 31,
                                 int64_t{1} << 32,
                                 int64_t{1} << 46,
                                 int64_t{1} << 62,
                                 INT64_MAX / 2,
                                 INT64_MAX / 4};
  return random() % 8 == 0 ? static_cast<int64_t>(random()) : some[random() % (sizeof some / sizeof some[0])];
}

// Random structs, half of them nearly right, to every op of this file's reach. Nothing may crash, hang or write
// outside.
TEST(Fuzz, GarbageTensors) {
  std::mt19937_64 random(7);
  const rl_device d = open_device();
  rl_buffer small = 0, large = 0, guard = 0, freed = 0;
  RL_CHECK(rl_buffer_alloc(&small, d, 64));
  RL_CHECK(rl_buffer_alloc(&guard, d, 1 << 16));
  RL_CHECK(rl_buffer_alloc(&large, d, 1 << 16));
  RL_CHECK(rl_buffer_alloc(&freed, d, 64));
  RL_CHECK(rl_buffer_free(freed));
  const rl_tensor guarded = tensor_of(guard, {1 << 16}, RL_U8), bytes = tensor_of(large, {1 << 16}, RL_U8);
  RL_CHECK(rl_fill(&guarded, 171));
  RL_CHECK(rl_fill(&bytes, 0));
  auto garbage = [&] {
    rl_tensor t{};
    if (random() % 2) {  // nearly right: dense, small, in a buffer
      std::vector<int64_t> shape(random() % 5);
      for (int64_t &s : shape) s = static_cast<int64_t>(random() % 9);
      t = tensor_of(random() % 4 ? large : small, shape, static_cast<int32_t>(random() % 5));
      t.offset = static_cast<int64_t>(random() % 1000) * 4;
      if (random() % 3) return t;
      switch (random() % 5) {
        case 0:
          t.offset = nasty(random);
          break;
        case 1:
          t.shape[random() % 4] = nasty(random);
          break;
        case 2:
          t.stride[random() % 4] = nasty(random);
          break;
        case 3:
          t.rank = static_cast<int32_t>(nasty(random));
          break;
        default:
          t.dtype = static_cast<int32_t>(nasty(random));
          break;
      }
      return t;
    }
    const rl_buffer buffers[] = {small, large, freed, 0, static_cast<rl_buffer>(random())};
    t.buffer = buffers[random() % 5];
    t.offset = nasty(random);
    t.dtype = static_cast<int32_t>(nasty(random));
    t.rank = static_cast<int32_t>(nasty(random));
    for (int i = 0; i < RL_MAX_RANK; i++) {
      t.shape[i] = nasty(random);
      t.stride[i] = nasty(random);
    }
    return t;
  };
  int succeeded = 0;
  for (int i = 0; i < 60000; i++) {
    rl_tensor t[11];
    const rl_tensor *p[11];
    for (int j = 0; j < 11; j++) {
      t[j] = j > 0 && random() % 3 ? t[j - 1] : garbage();  // alike, so that some get past the shapes
      if (random() % 2) t[j].offset = static_cast<int64_t>(random() % 1000) * 64;
      p[j] = random() % 40 ? &t[j] : nullptr;
    }
    if (random() % 2) {
      RL_CHECK(rl_fill(&bytes, static_cast<double>(random() % 3)));  // ids and offsets that mean something
    }
    rl_status s = RL_OK;
    switch (i % 18) {
      case 0:
        s = rl_fill(p[0], static_cast<double>(nasty(random)));
        break;
      case 1:
        s = rl_copy(p[0], p[1]);
        break;
      case 2:
        s = rl_add(p[0], p[1], p[2]);
        break;
      case 3:
        s = rl_embedding(p[0], p[1], p[2]);
        break;
      case 4:
        s = rl_embedding_backward(p[0], p[1], p[2]);
        break;
      case 5:
        s = rl_gather_rows(p[0], p[1], p[2]);
        break;
      case 6:
        s = rl_gather_rows_backward(p[0], p[1], p[2]);
        break;
      case 7:
        s = rl_rms_norm(p[0], p[1], p[2], 1e-5f);
        break;
      case 8:
        s = rl_rope(p[0], p[1], p[2], 0);
        break;
      case 9:
        s = rl_rope_table(p[0], p[1], p[2]);
        break;
      case 10:
        s = rl_swiglu(p[0], p[1], p[2]);
        break;
      case 11:
        s = rl_swiglu_backward(p[0], p[1], p[2], p[3], p[4]);
        break;
      case 12:
        s = rl_attention(p[0], p[1], p[2], p[3], p[4], p[5], 1, static_cast<int32_t>(nasty(random)));
        break;
      case 13:
        s = rl_attention_backward(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], 1, 0);
        break;
      case 14:
        s = rl_kv_append(p[0], p[1], p[2], p[3], p[4], p[5]);
        break;
      case 15:
        s = rl_attention_decode(p[0], p[1], p[2], p[3], p[4], p[5], 1, static_cast<int32_t>(nasty(random)));
        break;
      case 16:
        s = rl_rms_norm_backward(p[0], p[1], p[2], p[3], p[4], 1e-5f);
        break;
      default: {
        rl_weight w = 0;
        s = i % 4 ? rl_weight_pack(&w, p[0], i % 8 == 1) : rl_weight_view(&w, p[0]);
        if (s == RL_OK) {
          RL_CHECK(rl_weight_free(w));
        }
      }
    }
    ASSERT_TRUE(s == RL_OK || s == RL_INVALID_ARGUMENT || s == RL_INVALID_HANDLE || s == RL_UNSUPPORTED)
        << s << rl_last_error();
    succeeded += s == RL_OK;
  }
  EXPECT_GT(succeeded, 1000);  // not all of it was refused at the door
  std::vector<uint8_t> host(1 << 16);
  RL_CHECK(rl_copy_to_host(host.data(), &guarded, 1 << 16));
  for (uint8_t v : host) ASSERT_EQ(v, 171);
  RL_CHECK(rl_device_close(d));
}

}  // namespace
}  // namespace rl::test
