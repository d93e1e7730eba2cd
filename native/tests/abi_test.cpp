// What holds for every call: handles are checked, tensors are checked against their buffers, nothing crashes.
#include <thread>

#include "support.h"

namespace rl::test {
namespace {

rl_tensor tensor(rl_buffer buffer, int32_t dtype, const std::vector<int64_t> &shape, int64_t offset = 0) {
  rl_tensor t{};
  t.buffer = buffer;
  t.offset = offset;
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

/// A device of its own, for tests that close it or count its bytes.
rl_device open_device(int32_t threads = 2) {
  rl_device d = 0;
  EXPECT_EQ(rl_device_open(&d, "cpu", 0, threads), RL_OK) << rl_last_error();
  return d;
}

rl_buffer alloc(rl_device d, int64_t bytes) {
  rl_buffer b = 0;
  EXPECT_EQ(rl_buffer_alloc(&b, d, bytes), RL_OK) << rl_last_error();
  return b;
}

struct Memory {
  int64_t in_use = -1, peak = -1, reserved = -1;
};

Memory memory(rl_device d) {
  Memory m;
  EXPECT_EQ(rl_device_memory(&m.in_use, &m.peak, &m.reserved, d), RL_OK) << rl_last_error();
  return m;
}

TEST(AbiLibrary, SaysWhatItIs) {
  EXPECT_EQ(rl_abi_version(), RL_ABI_VERSION);
  EXPECT_NE(std::string(rl_build_info()).find("rlhf4j"), std::string::npos);
  EXPECT_NE(std::string(rl_build_info()).find("ABI " + std::to_string(RL_ABI_VERSION)), std::string::npos);
}

TEST(AbiLibrary, StructsHaveTheLayoutThatJavaWrites) {
  EXPECT_EQ(sizeof(rl_tensor), 88u);
  EXPECT_EQ(offsetof(rl_tensor, shape), 24u);
  EXPECT_EQ(offsetof(rl_tensor, stride), 56u);
  EXPECT_EQ(sizeof(rl_dropout), 24u);
  EXPECT_EQ(sizeof(rl_lora_segment), 24u + 4 * sizeof(rl_tensor));
  EXPECT_EQ(sizeof(rl_ppo_config), 32u);
  EXPECT_EQ(sizeof(rl_adamw_config), 32u);
  EXPECT_EQ(sizeof(rl_sample_config), 24u);
}

TEST(AbiDevice, OpenErrors) {
  rl_device d = 77;
  expect_error(rl_device_open(&d, "tpu", 0, 1), RL_UNSUPPORTED, {"device_open", "backend", "cpu", "'tpu'"});
  expect_error(rl_device_open(&d, "", 0, 1), RL_UNSUPPORTED, {"backend"});
  expect_error(rl_device_open(&d, nullptr, 0, 1), RL_INVALID_ARGUMENT, {"backend", "null"});
  expect_error(rl_device_open(nullptr, "cpu", 0, 1), RL_INVALID_ARGUMENT, {"device", "null"});
  expect_error(rl_device_open(&d, "cpu", 1, 1), RL_INVALID_ARGUMENT, {"index", "1"});
  expect_error(rl_device_open(&d, "cpu", -1, 1), RL_INVALID_ARGUMENT, {"index", "-1"});
  expect_error(rl_device_open(&d, "cpu", 0, -1), RL_INVALID_ARGUMENT, {"threads", "-1"});
  expect_error(rl_device_open(&d, "cpu", 0, 1 << 30), RL_INVALID_ARGUMENT, {"threads"});
  EXPECT_EQ(d, 77u) << "an output was written although the call failed";
}

TEST(AbiDevice, DescribesItselfTruncated) {
  const rl_device d = open_device(3);
  char text[256];
  RL_CHECK(rl_device_describe(text, sizeof text, d));
  EXPECT_NE(std::string(text).find("3 threads"), std::string::npos) << text;
  char small[6];
  std::memset(small, 'x', sizeof small);
  RL_CHECK(rl_device_describe(small, 5, d));
  EXPECT_EQ(std::string(small), std::string(text).substr(0, 4));
  EXPECT_EQ(small[5], 'x');
  RL_CHECK(rl_device_describe(small, 1, d));
  EXPECT_EQ(small[0], 0);
  expect_error(rl_device_describe(small, 0, d), RL_INVALID_ARGUMENT, {"text"});
  expect_error(rl_device_describe(small, -4, d), RL_INVALID_ARGUMENT, {"text"});
  expect_error(rl_device_describe(nullptr, 8, d), RL_INVALID_ARGUMENT, {"text"});
  RL_CHECK(rl_device_close(d));
}

TEST(AbiDevice, AllCoresByDefault) {
  const rl_device d = open_device(0);
  char text[256];
  RL_CHECK(rl_device_describe(text, sizeof text, d));
  EXPECT_EQ(std::string(text).find(" 0 threads"), std::string::npos) << text;
  RL_CHECK(rl_device_close(d));
}

TEST(AbiHandles, ClosedDeviceIsFoundOut) {
  const rl_device d = open_device();
  RL_CHECK(rl_device_close(d));
  int64_t a, b, c;
  char text[64];
  rl_buffer buffer = 0;
  expect_error(rl_device_close(d), RL_INVALID_HANDLE, {"device_close", "closed or was never opened"});
  expect_error(rl_device_synchronize(d), RL_INVALID_HANDLE, {"device_synchronize", "closed"});
  expect_error(rl_device_memory(&a, &b, &c, d), RL_INVALID_HANDLE, {"device_memory", "closed"});
  expect_error(rl_device_trim(d), RL_INVALID_HANDLE, {"device_trim", "closed"});
  expect_error(rl_device_describe(text, sizeof text, d), RL_INVALID_HANDLE, {"device_describe", "closed"});
  expect_error(rl_buffer_alloc(&buffer, d, 64), RL_INVALID_HANDLE, {"buffer_alloc", "closed"});
  // The slot has a new tenant: the old number still means nothing.
  const rl_device e = open_device();
  EXPECT_NE(d, e);
  expect_error(rl_device_synchronize(d), RL_INVALID_HANDLE, {"closed"});
  RL_CHECK(rl_device_close(e));
}

TEST(AbiHandles, NumbersThatWereNeverHandles) {
  for (uint64_t h : {uint64_t{0}, uint64_t{1}, uint64_t{0xffffffff}, uint64_t{1} << 32, ~uint64_t{0}, uint64_t{0x100000fff},
                     uint64_t{0xffffffff00000001}}) {
    EXPECT_EQ(rl_device_synchronize(h), RL_INVALID_HANDLE) << h;
    EXPECT_EQ(rl_buffer_free(h), RL_INVALID_HANDLE) << h;
    EXPECT_EQ(rl_weight_free(h), RL_INVALID_HANDLE) << h;
    EXPECT_EQ(rl_device_close(h), RL_INVALID_HANDLE) << h;
  }
}

TEST(AbiHandles, FreedBufferIsFoundOut) {
  const rl_buffer b = alloc(device(), 64);
  const rl_tensor t = tensor(b, RL_F32, {4});
  RL_CHECK(rl_fill(&t, 1));
  RL_CHECK(rl_buffer_free(b));
  expect_error(rl_buffer_free(b), RL_INVALID_HANDLE, {"buffer_free", "closed or was never opened"});
  expect_error(rl_fill(&t, 1), RL_INVALID_HANDLE, {"fill", "y", "closed or was never opened"});
  const rl_buffer next = alloc(device(), 64);
  EXPECT_NE(next, b);
  expect_error(rl_fill(&t, 1), RL_INVALID_HANDLE, {"y", "closed"});
  RL_CHECK(rl_buffer_free(next));
}

TEST(AbiHandles, FreedWeightIsFoundOut) {
  Tensor w({4, 8}, Floats(32, 1.0f)), x({2, 8}, Floats(16, 1.0f)), y({2, 4});
  for (bool pack : {true, false}) {
    rl_weight weight = 0;
    RL_CHECK(pack ? rl_weight_pack(&weight, w, 1) : rl_weight_view(&weight, w));
    RL_CHECK(rl_linear(y, x, weight, nullptr, 0));
    EXPECT_EQ(y.get(), Floats(8, 8.0f));
    RL_CHECK(rl_weight_free(weight));
    expect_error(rl_weight_free(weight), RL_INVALID_HANDLE, {"weight_free", "closed or was never opened"});
    expect_error(rl_linear(y, x, weight, nullptr, 0), RL_INVALID_HANDLE, {"linear", "weight", "closed"});
  }
}

TEST(AbiHandles, PackedWeightOutlivesItsTensorAViewDoesNot) {
  Tensor x({2, 8}, Floats(16, 1.0f)), y({2, 4});
  const rl_buffer b = alloc(device(), 4 * 8 * 4);
  const rl_tensor w = tensor(b, RL_F32, {4, 8});
  RL_CHECK(rl_fill(&w, 2));
  rl_weight packed = 0, view = 0;
  RL_CHECK(rl_weight_pack(&packed, &w, 0));
  RL_CHECK(rl_weight_view(&view, &w));
  RL_CHECK(rl_fill(&w, 3));
  RL_CHECK(rl_linear(y, x, packed, nullptr, 0));
  EXPECT_EQ(y.get(), Floats(8, 16.0f));
  RL_CHECK(rl_linear(y, x, view, nullptr, 0));
  EXPECT_EQ(y.get(), Floats(8, 24.0f));
  RL_CHECK(rl_buffer_free(b));
  RL_CHECK(rl_linear(y, x, packed, nullptr, 0));
  EXPECT_EQ(y.get(), Floats(8, 16.0f));
  expect_error(rl_linear(y, x, view, nullptr, 0), RL_INVALID_HANDLE, {"linear", "weight", "closed"});
  RL_CHECK(rl_weight_free(packed));
  RL_CHECK(rl_weight_free(view));
}

TEST(AbiHandles, ClosingADeviceTakesEverythingWithIt) {
  const rl_device d = open_device();
  std::vector<rl_buffer> buffers;
  for (int i = 0; i < 20; i++) buffers.push_back(alloc(d, 1000 * (i + 1)));
  const rl_tensor w = tensor(buffers[19], RL_F32, {8, 8}), x = tensor(buffers[18], RL_F32, {3, 8}), y = tensor(buffers[17], RL_F32, {3, 8});
  rl_weight packed = 0, view = 0;
  RL_CHECK(rl_fill(&w, 1));
  RL_CHECK(rl_fill(&x, 1));
  RL_CHECK(rl_weight_pack(&packed, &w, 1));
  RL_CHECK(rl_weight_view(&view, &w));
  RL_CHECK(rl_linear(&y, &x, packed, nullptr, 0));
  RL_CHECK(rl_linear_backward_input(&x, &y, view, 0));
  RL_CHECK(rl_device_close(d));
  for (rl_buffer b : buffers) EXPECT_EQ(rl_buffer_free(b), RL_INVALID_HANDLE);
  EXPECT_EQ(rl_weight_free(packed), RL_INVALID_HANDLE);
  EXPECT_EQ(rl_weight_free(view), RL_INVALID_HANDLE);
  EXPECT_EQ(rl_fill(&w, 1), RL_INVALID_HANDLE);
  EXPECT_EQ(rl_linear(&y, &x, packed, nullptr, 0), RL_INVALID_HANDLE);
  // Others are left alone.
  Tensor mine({4}, Floats(4, 1.0f));
  EXPECT_EQ(mine.get(), Floats(4, 1.0f));
}

TEST(AbiTensors, OfAnotherDevice) {
  const rl_device d = open_device();
  const rl_buffer b = alloc(d, 256);
  const rl_tensor far = tensor(b, RL_F32, {4});
  Tensor near({4}, Floats(4, 1.0f));
  RL_CHECK(rl_fill(&far, 1));
  expect_error(rl_copy(near, &far), RL_INVALID_ARGUMENT, {"copy", "same device", "another device's"});
  expect_error(rl_copy(&far, near), RL_INVALID_ARGUMENT, {"copy", "same device"});
  Tensor w({4, 4}, Floats(16, 1.0f));
  rl_weight weight = 0;
  RL_CHECK(rl_weight_pack(&weight, w, 0));
  const rl_tensor x = tensor(b, RL_F32, {2, 4}), y = tensor(b, RL_F32, {2, 4}, 128);
  expect_error(rl_linear(&y, &x, weight, nullptr, 0), RL_INVALID_ARGUMENT, {"linear", "same device"});
  RL_CHECK(rl_weight_free(weight));
  RL_CHECK(rl_device_close(d));
}

TEST(AbiTensors, MustFitTheirBuffer) {
  const rl_buffer b = alloc(device(), 100);
  rl_tensor t = tensor(b, RL_F32, {25});
  RL_CHECK(rl_fill(&t, 0));
  t.shape[0] = 26;
  expect_error(rl_fill(&t, 0), RL_INVALID_ARGUMENT, {"fill", "y", "needs 104 bytes", "has 100"});
  t.shape[0] = 25;
  t.offset = 4;
  expect_error(rl_fill(&t, 0), RL_INVALID_ARGUMENT, {"offset 4", "needs 104 bytes"});
  t.offset = 2;
  expect_error(rl_fill(&t, 0), RL_INVALID_ARGUMENT, {"offset 2", "multiple"});
  t.offset = -4;
  expect_error(rl_fill(&t, 0), RL_INVALID_ARGUMENT, {"offset -4"});
  t.offset = INT64_MAX - 3;
  EXPECT_EQ(rl_fill(&t, 0), RL_INVALID_ARGUMENT);
  t = tensor(b, RL_F32, {4, 5});
  t.stride[0] = 6;  // 3 * 6 + 5 = 23 elements
  RL_CHECK(rl_fill(&t, 0));
  t.stride[0] = 7;  // 3 * 7 + 5 = 26
  EXPECT_EQ(rl_fill(&t, 0), RL_INVALID_ARGUMENT);
  t = tensor(b, RL_U8, {100});
  RL_CHECK(rl_fill(&t, 0));
  t = tensor(b, RL_BF16, {0}, 100);
  RL_CHECK(rl_fill(&t, 0));
  t = tensor(b, RL_BF16, {1}, 100);
  EXPECT_EQ(rl_fill(&t, 0), RL_INVALID_ARGUMENT);
  RL_CHECK(rl_buffer_free(b));
}

TEST(AbiTensors, ShapesAndStridesThatMakeNoSense) {
  const rl_buffer b = alloc(device(), 4096);
  const rl_tensor good = tensor(b, RL_F32, {8, 8});
  rl_tensor t = good;
  RL_CHECK(rl_fill(&t, 0));
  t.shape[1] = -8;
  expect_error(rl_fill(&t, 0), RL_INVALID_ARGUMENT, {"dimension 1 is -8"});
  t = good;
  t.shape[0] = INT64_MAX;
  EXPECT_EQ(rl_fill(&t, 0), RL_INVALID_ARGUMENT);
  t = good;
  t.shape[0] = INT64_MIN;
  EXPECT_EQ(rl_fill(&t, 0), RL_INVALID_ARGUMENT);
  // The product of the dimensions overflows to a small number.
  t = tensor(b, RL_F32, {8, 8, 8, 8});
  for (int i = 0; i < 4; i++) t.shape[i] = int64_t{1} << 32;
  t.stride[0] = t.stride[1] = t.stride[2] = 0;
  EXPECT_EQ(rl_fill(&t, 0), RL_INVALID_ARGUMENT);
  t = tensor(b, RL_F32, {2, 0});
  t.stride[0] = int64_t{1} << 62;
  EXPECT_NE(rl_fill(&t, 0), RL_INTERNAL);
  for (int64_t stride : {int64_t{7}, int64_t{0}, int64_t{-8}, INT64_MIN, INT64_MAX, int64_t{1} << 61}) {
    t = good;
    t.stride[0] = stride;
    EXPECT_EQ(rl_fill(&t, 0), RL_INVALID_ARGUMENT) << stride;
  }
  t = good;
  t.stride[1] = 2;
  expect_error(rl_fill(&t, 0), RL_INVALID_ARGUMENT, {"dense", "dimension 1"});
  for (int32_t rank : {-1, 5, INT32_MAX, INT32_MIN}) {
    t = good;
    t.rank = rank;
    expect_error(rl_fill(&t, 0), RL_INVALID_ARGUMENT, {"rank", std::to_string(rank)});
  }
  for (int32_t dtype : {-1, 5, INT32_MAX}) {
    t = good;
    t.dtype = dtype;
    expect_error(rl_fill(&t, 0), RL_INVALID_ARGUMENT, {"dtype", std::to_string(dtype)});
  }
  RL_CHECK(rl_buffer_free(b));
}

TEST(AbiTensors, OutputsNeedMemoryOfTheirOwn) {
  const rl_buffer b = alloc(device(), 4096);
  const rl_tensor all = tensor(b, RL_F32, {8, 24});
  RL_CHECK(rl_fill(&all, 1));
  const rl_tensor gate = columns(&all, 0, {8, 8}), up = columns(&all, 8, {8, 8}), y = columns(&all, 16, {8, 8});
  RL_CHECK(rl_swiglu(&y, &gate, &up));  // columns of one matrix interleave without touching
  const rl_tensor shifted = columns(&all, 15, {8, 8});
  expect_error(rl_swiglu(&shifted, &gate, &up), RL_INVALID_ARGUMENT, {"swiglu", "y", "overlaps up"});
  expect_error(rl_swiglu(&gate, &gate, &up), RL_INVALID_ARGUMENT, {"y", "overlaps gate"});
  Tensor gy({8, 8}, Floats(64, 1.0f)), g({8, 8}, Floats(64, 1.0f)), u({8, 8}, Floats(64, 1.0f));
  expect_error(rl_swiglu_backward(&gate, &gate, gy, g, u), RL_INVALID_ARGUMENT, {"gradGate", "overlaps gradUp"});
  RL_CHECK(rl_swiglu_backward(&gate, &up, gy, g, u));
  RL_CHECK(rl_buffer_free(b));
}

TEST(AbiTensors, OverlapIsFoundAmongManyTensorsToo) {
  // More LoRA segments than any fixed table of tensors holds, the last two with the same gradient.
  const int n = 12;
  const int64_t r = 2, k = 4, width = 3;
  Tensor x({n, k}, Floats(n * k, 1.0f)), gy({n, width}, Floats(n * width, 1.0f)), h({n, r}, Floats(n * r, 1.0f));
  Tensor a({r, k}, Floats(r * k, 1.0f)), b({width, r}, Floats(width * r, 1.0f));
  Tensor ga({n, r, k}, Floats(n * r * k, 0.0f)), gb({n, width, r}, Floats(n * width * r, 0.0f));
  std::vector<rl_lora_segment> segments(n);
  for (int i = 0; i < n; i++) {
    rl_lora_segment &s = segments[static_cast<size_t>(i)];
    s = {i, i + 1, 1.0f, 0, *static_cast<const rl_tensor *>(a), *static_cast<const rl_tensor *>(b), {}, {}};
    s.gradA = tensor(static_cast<const rl_tensor *>(ga)->buffer, RL_F32, {r, k}, i * r * k * 4);
    s.gradB = tensor(static_cast<const rl_tensor *>(gb)->buffer, RL_F32, {width, r}, i * width * r * 4);
  }
  RL_CHECK(rl_lora_backward(nullptr, gy, x, h, segments.data(), n, nullptr));
  segments[n - 1].gradB = segments[n - 2].gradB;
  expect_error(rl_lora_backward(nullptr, gy, x, h, segments.data(), n, nullptr), RL_INVALID_ARGUMENT, {"gradB", "overlaps"});
  segments[n - 1].gradB = segments[n - 1].b;
  expect_error(rl_lora_backward(nullptr, gy, x, h, segments.data(), n, nullptr), RL_INVALID_ARGUMENT, {"gradB", "overlaps"});
}

TEST(AbiMemory, IsAccounted) {
  const rl_device d = open_device();
  const Memory empty = memory(d);
  EXPECT_EQ(empty.in_use, 0);
  const rl_buffer a = alloc(d, 1 << 20);
  const Memory one = memory(d);
  EXPECT_GE(one.in_use, 1 << 20);
  EXPECT_LE(one.in_use, (1 << 20) * 9 / 8);
  const rl_buffer b = alloc(d, 3 << 20);
  const Memory two = memory(d);
  EXPECT_GE(two.in_use, 4 << 20);
  EXPECT_EQ(two.peak, two.in_use);
  EXPECT_GE(two.reserved, two.in_use);
  RL_CHECK(rl_buffer_free(b));
  const Memory freed = memory(d);
  EXPECT_EQ(freed.in_use, one.in_use);
  EXPECT_EQ(freed.peak, two.peak);
  EXPECT_EQ(freed.reserved, two.reserved) << "a freed block is kept for the next allocation";
  const rl_buffer c = alloc(d, 3 << 20);
  EXPECT_EQ(memory(d).reserved, two.reserved) << "the kept block was not used again";
  RL_CHECK(rl_buffer_free(c));
  RL_CHECK(rl_device_trim(d));
  EXPECT_EQ(memory(d).reserved, one.reserved) << "trim gives free blocks back, and live ones stay";
  // Weights count, and are gone when they are freed.
  const rl_tensor w = tensor(a, RL_F32, {256, 256});
  RL_CHECK(rl_fill(&w, 1));
  rl_weight weight = 0;
  RL_CHECK(rl_weight_pack(&weight, &w, 1));
  EXPECT_GE(memory(d).in_use, one.in_use + 256 * 256 * 4);
  RL_CHECK(rl_weight_free(weight));
  RL_CHECK(rl_device_synchronize(d));
  EXPECT_EQ(memory(d).in_use, one.in_use);
  RL_CHECK(rl_buffer_free(a));
  RL_CHECK(rl_device_trim(d));
  EXPECT_EQ(memory(d).in_use, 0);
  EXPECT_EQ(memory(d).reserved, 0);
  int64_t x;
  expect_error(rl_device_memory(nullptr, &x, &x, d), RL_INVALID_ARGUMENT, {"null"});
  expect_error(rl_device_memory(&x, nullptr, &x, d), RL_INVALID_ARGUMENT, {"null"});
  expect_error(rl_device_memory(&x, &x, nullptr, d), RL_INVALID_ARGUMENT, {"null"});
  RL_CHECK(rl_device_close(d));
}

TEST(AbiMemory, ScratchOfAnOpDoesNotGrow) {
  const rl_device d = open_device();
  const rl_buffer b = alloc(d, 1 << 20);
  const rl_tensor x = tensor(b, RL_F32, {100000}), norm = tensor(b, RL_F32, {1}, 100000 * 4);
  RL_CHECK(rl_fill(&x, 1));
  RL_CHECK(rl_grad_norm(&norm, &x));
  const Memory first = memory(d);
  for (int i = 0; i < 100; i++) RL_CHECK(rl_grad_norm(&norm, &x));
  EXPECT_EQ(memory(d).reserved, first.reserved);
  EXPECT_EQ(memory(d).in_use, first.in_use);
  RL_CHECK(rl_device_close(d));
}

TEST(AbiMemory, SizesBeyondReason) {
  rl_buffer b = 55;
  expect_error(rl_buffer_alloc(&b, device(), -1), RL_INVALID_ARGUMENT, {"buffer_alloc", "bytes", "-1"});
  expect_error(rl_buffer_alloc(&b, device(), INT64_MIN), RL_INVALID_ARGUMENT, {"bytes"});
  expect_error(rl_buffer_alloc(nullptr, device(), 1), RL_INVALID_ARGUMENT, {"buffer", "null"});
  const Memory before = memory(device());
  for (int64_t bytes : {INT64_MAX, INT64_MAX - 63, (int64_t{1} << 62) + 1, int64_t{1} << 60}) {
    EXPECT_EQ(rl_buffer_alloc(&b, device(), bytes), RL_OUT_OF_MEMORY) << bytes;
  }
  const Memory after = memory(device());
  EXPECT_EQ(after.in_use, before.in_use);
  EXPECT_EQ(after.peak, before.peak);
  EXPECT_EQ(b, 55u);
}

TEST(AbiMemory, BuffersAreAlignedAndMayBeEmpty) {
  for (int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{63}, int64_t{4097}, int64_t{5} << 20}) {
    const rl_buffer b = alloc(device(), bytes);
    const rl_tensor t = tensor(b, RL_U8, {bytes});
    RL_CHECK(rl_fill(&t, 7));
    RL_CHECK(rl_buffer_free(b));
  }
}

TEST(AbiErrors, TextBelongsToTheThread) {
  std::string before = "?", here;
  Tensor x({4}), y({5});
  expect_error(rl_copy(y, x), RL_INVALID_ARGUMENT, {"copy"});
  here = rl_last_error();
  std::string there;
  std::thread([&] {
    before = rl_last_error();
    rl_buffer_free(12345);
    there = rl_last_error();
  }).join();
  EXPECT_EQ(before, "");
  EXPECT_NE(there.find("buffer_free"), std::string::npos) << there;
  EXPECT_EQ(std::string(rl_last_error()), here);
  RL_CHECK(rl_fill(x, 1));
  EXPECT_EQ(std::string(rl_last_error()), here) << "kept until the next failing call";
}

TEST(AbiThreads, ManyOnOneDevice) {
  const rl_device d = open_device(2);
  std::vector<std::thread> threads;
  std::vector<int> wrong(6, 0);
  for (int id = 0; id < 6; id++) {
    threads.emplace_back([&, id] {
      std::mt19937 engine(static_cast<uint32_t>(id));
      for (int round = 0; round < 150; round++) {
        const int64_t n = 1 + static_cast<int64_t>(engine() % 3000);
        rl_buffer ba = 0, bb = 0;
        bool ok = rl_buffer_alloc(&ba, d, n * 4) == RL_OK && rl_buffer_alloc(&bb, d, n * 4) == RL_OK;
        const rl_tensor a = tensor(ba, RL_F32, {n}), b = tensor(bb, RL_F32, {n});
        ok = ok && rl_fill(&a, id + 1) == RL_OK && rl_fill(&b, round) == RL_OK && rl_add(&b, &a, &b) == RL_OK;
        Floats out(static_cast<size_t>(n));
        ok = ok && rl_copy_to_host(out.data(), &b, n * 4) == RL_OK;
        for (float v : out) ok = ok && v == static_cast<float>(id + 1 + round);
        ok = ok && rl_buffer_free(ba) == RL_OK && rl_buffer_free(bb) == RL_OK;
        ok = ok && rl_fill(&a, 0) == RL_INVALID_HANDLE;
        if (round % 50 == 0) ok = ok && rl_device_trim(d) == RL_OK;
        wrong[static_cast<size_t>(id)] += ok ? 0 : 1;
      }
    });
  }
  for (std::thread &t : threads) t.join();
  EXPECT_EQ(wrong, std::vector<int>(6, 0));
  EXPECT_EQ(memory(d).in_use, 0);
  RL_CHECK(rl_device_close(d));
}

TEST(AbiThreads, ClosingUnderTheHandsOfOthers) {
  for (int round = 0; round < 20; round++) {
    const rl_device d = open_device(1);
    std::vector<std::thread> threads;
    for (int id = 0; id < 3; id++) {
      threads.emplace_back([d] {
        for (;;) {
          rl_buffer b = 0;
          if (rl_buffer_alloc(&b, d, 4096) != RL_OK) return;
          const rl_tensor t = tensor(b, RL_F32, {32, 32});
          rl_weight w = 0;
          (void)rl_fill(&t, 1);
          (void)rl_weight_view(&w, &t);
          (void)rl_weight_free(w);
          (void)rl_buffer_free(b);
        }
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    EXPECT_EQ(rl_device_close(d), RL_OK);
    for (std::thread &t : threads) t.join();
  }
}

TEST(AbiNull, Everywhere) {
  const rl_weight w = 0;
  const rl_ppo_config ppo{0.2f, 0.2f, 0.1f, 0, 0, 0, 1, 0};
  const rl_adamw_config adamw{1e-3f, 0.9f, 0.999f, 1e-8f, 0, 0, 1, 0};
  const rl_sample_config sample{1, 0, 1, 0, 0};
  const rl_tensor *z = nullptr;
  const std::vector<rl_status> all = {
      rl_copy_from_host(z, nullptr, 0), rl_copy_to_host(nullptr, z, 0), rl_copy(z, z), rl_fill(z, 0), rl_add(z, z, z),
      rl_embedding(z, z, z), rl_embedding_backward(z, z, z), rl_gather_rows(z, z, z), rl_gather_rows_backward(z, z, z),
      rl_rms_norm(z, z, z, 0), rl_rms_norm_backward(z, z, z, z, z, 0), rl_rope_table(z, z, z), rl_rope(z, z, z, 0),
      rl_swiglu(z, z, z), rl_swiglu_backward(z, z, z, z, z), rl_weight_pack(nullptr, z, 0), rl_weight_view(nullptr, z),
      rl_linear_backward_weight(z, z, z, z), rl_lora(z, z, z, nullptr, 1, nullptr),
      rl_lora_backward(z, z, z, z, nullptr, 1, nullptr), rl_dropout_apply(z, z, nullptr), rl_attention(z, z, z, z, z, z, 1, 0),
      rl_attention_backward(z, z, z, z, z, z, z, z, z, z, 1, 0), rl_kv_append(z, z, z, z, z, z),
      rl_attention_decode(z, z, z, z, z, z, 1, 0), rl_scalar_head(z, z, z, z), rl_scalar_head_backward(z, z, z, z, z, z),
      rl_kl_penalty(z, z, z, 0), rl_shaped_rewards(z, z, z, z, 0), rl_gae(z, z, z, z, z, 1, 1), rl_whiten(z, z, 1),
      rl_ppo_loss(z, z, z, z, z, z, z, z, z, &ppo), rl_ppo_loss(z, z, z, z, z, z, z, z, z, nullptr),
      rl_pairwise_loss(z, z, z, z, z, z, 0, 1), rl_grad_norm(z, z), rl_adamw(z, z, z, z, z, &adamw),
      rl_adamw(z, z, z, z, z, nullptr), rl_sample(z, z, z, z, z, z, z, &sample), rl_sample(z, z, z, z, z, z, z, nullptr)};
  for (size_t i = 0; i < all.size(); i++) EXPECT_EQ(all[i], RL_INVALID_ARGUMENT) << i;
  const std::vector<rl_status> with_weight = {
      rl_linear(z, z, w, z, 0), rl_linear_backward_input(z, z, w, 0), rl_head_logprob(z, z, z, z, w, z, 1),
      rl_head_logprob_backward(z, z, z, z, z, w, z, z, z, 1), rl_head_cross_entropy(z, z, z, z, w, z, 1),
      rl_head_full_kl(z, z, z, z, w, z, w, 1), rl_head_full_kl_backward(z, z, z, z, w, z, w, z, z, z, 1)};
  for (size_t i = 0; i < with_weight.size(); i++) {
    EXPECT_TRUE(with_weight[i] == RL_INVALID_ARGUMENT || with_weight[i] == RL_INVALID_HANDLE) << i;
  }
}

/// Garbage that is nearly right: such gets past the first checks.
struct Fuzz {
  std::mt19937_64 engine;
  std::vector<rl_buffer> buffers;
  std::vector<rl_weight> weights;

  int64_t below(int64_t n) { return static_cast<int64_t>(engine() % static_cast<uint64_t>(n)); }

  int64_t number() {
    switch (below(12)) {
      case 0: return static_cast<int64_t>(engine());
      case 1: return -below(5);
      case 2: return int64_t{1} << below(63);
      case 3: return INT64_MAX - below(3);
      case 4: return 0;
      default: return 1 + below(9);
    }
  }

  rl_tensor garbage() {
    rl_tensor t{};
    t.buffer = below(20) ? buffers[static_cast<size_t>(below(static_cast<int64_t>(buffers.size())))] : engine();
    t.offset = below(3) ? below(64) * 4 : number();
    t.dtype = below(20) ? static_cast<int32_t>(below(5)) : static_cast<int32_t>(engine());
    t.rank = below(20) ? static_cast<int32_t>(below(5)) : static_cast<int32_t>(engine());
    int64_t stride = 1;
    for (int i = RL_MAX_RANK - 1; i >= 0; i--) {
      t.shape[i] = below(30) ? 1 + below(4) : number();
      t.stride[i] = below(30) ? stride : number();
      if (i < t.rank) stride = static_cast<int64_t>(static_cast<uint64_t>(stride) * static_cast<uint64_t>(t.shape[i]));
      if (i == 0 && !below(4)) t.stride[i] += below(5);
    }
    return t;
  }

  /// Often a well-formed tensor of small size, in memory of its own.
  rl_tensor any(int32_t dtype, const std::vector<int64_t> &shape) {
    if (!below(8)) return garbage();
    return tensor(buffers[static_cast<size_t>(below(static_cast<int64_t>(buffers.size())))], below(10) ? dtype : static_cast<int32_t>(below(5)),
                  shape, below(40) * 256);
  }

  rl_weight weight() { return below(10) ? weights[static_cast<size_t>(below(static_cast<int64_t>(weights.size())))] : engine(); }
  float real() { return below(10) ? static_cast<float>(below(300)) / 100 : below(2) ? -1.0f : NAN; }
};

TEST(AbiFuzz, GarbageIsRefusedNeverFollowed) {
  const rl_device d = open_device(2);
  Fuzz f{std::mt19937_64(20240517), {}, {}};
  // What lies in the buffers is garbage too: it is read as ids, lengths, positions, numbers.
  std::vector<uint32_t> noise(16384 / 4);
  for (int i = 0; i < 24; i++) {
    const rl_buffer b = alloc(d, 16384);
    for (uint32_t &v : noise) {
      const int64_t kind = i % 4 == 3 ? 0 : f.below(40);
      v = kind == 0 ? static_cast<uint32_t>(f.engine()) : kind < 30 ? static_cast<uint32_t>(f.below(4)) : 0x3f800000u;
    }
    const rl_tensor t = tensor(b, RL_I32, {16384 / 4});
    RL_CHECK(rl_copy_from_host(&t, noise.data(), 16384));
    f.buffers.push_back(b);
  }
  for (int32_t dtype : {RL_F32, RL_BF16}) {
    const rl_tensor w = tensor(f.buffers[0], dtype, {3, 4});
    rl_weight packed = 0, view = 0;
    RL_CHECK(rl_weight_pack(&packed, &w, 1));
    RL_CHECK(rl_weight_view(&view, &w));
    f.weights.push_back(packed);
    f.weights.push_back(view);
  }
  int64_t ok = 0, refused = 0;
  for (int round = 0; round < 40000; round++) {
    const int32_t t = f.below(2) ? RL_F32 : RL_BF16;
    const int64_t T = 1 + f.below(4), H = 4, V = 3, hkv = 1 + f.below(2), hq = hkv * (1 + f.below(2)), D = 2 * (1 + f.below(3));
    auto m = [&](int32_t dtype, std::vector<int64_t> shape) { return f.any(dtype, shape); };
    auto maybe = [&](const rl_tensor &x) -> const rl_tensor * { return f.below(6) ? &x : nullptr; };
    // Named for the shapes they usually have.
    const rl_tensor xh = m(t, {T, H}), yh = m(t, {T, H}), zh = m(t, {T, H}), gh = m(t, {T, H}), qh = m(t, {T, H});
    const rl_tensor yv = m(t, {T, V}), wv = m(t, {V, H}), gw = m(RL_F32, {V, H}), vh = m(RL_F32, {H}), sv = m(RL_F32, {V});
    const rl_tensor it = m(RL_I32, {T}), jt = m(RL_I32, {T}), cu = m(RL_I32, {2 + f.below(2)}), iv = m(RL_I32, {f.below(3)});
    const rl_tensor at = m(RL_F32, {T}), bt = m(RL_F32, {T}), ct = m(RL_F32, {T}), dt = m(RL_F32, {T}), et = m(RL_F32, {T});
    const rl_tensor ft = m(RL_F32, {T}), gt = m(RL_F32, {T}), ht = m(RL_F32, {T}), one = m(RL_F32, {1}), stats = m(RL_F32, {16});
    const rl_tensor q = m(t, {T, hq, D}), k = m(t, {T, hkv, D}), v = m(t, {T, hkv, D}), o = m(t, {T, hq, D}), go = m(t, {T, hq, D});
    const rl_tensor gq = m(t, {T, hq, D}), gk = m(t, {T, hkv, D}), gv = m(t, {T, hkv, D}), lse = m(RL_F32, {hq, T});
    const rl_tensor ck = m(t, {2, 3, hkv, D}), cv = m(t, {2, 3, hkv, D}), table = m(RL_F32, {T, D}), freq = m(RL_F32, {2, D / 2});
    const rl_weight w = f.weight(), w2 = f.weight();
    const float p = f.real(), s = f.real();
    const int32_t window = f.below(8) ? static_cast<int32_t>(f.below(3)) : static_cast<int32_t>(f.engine());
    const rl_dropout drop{f.below(2) ? 0.5f : p, 0, f.engine(), f.engine()};
    std::vector<rl_lora_segment> segments(static_cast<size_t>(f.below(3)));
    for (rl_lora_segment &g : segments) {
      g = {f.below(3), f.below(4), p, 0, m(RL_F32, {2, H}), m(RL_F32, {V, 2}), m(RL_F32, {2, H}), m(RL_F32, {V, 2})};
    }
    const int32_t n = static_cast<int32_t>(segments.size());
    const rl_tensor hr = m(RL_F32, {T, 2});
    const rl_ppo_config ppo{p, s, f.real(), f.real(), f.real(), f.real(), f.real(), 0};
    const rl_adamw_config adamw{p, 0.9f, 0.999f, 1e-8f, s, f.real(), static_cast<int32_t>(f.below(4)), 0};
    const rl_sample_config sample{p, static_cast<int32_t>(f.below(5)) - 1, f.below(2) ? 1.0f : s, 0, f.engine()};
    rl_status status = RL_INTERNAL;
    switch (f.below(40)) {
      case 0: status = rl_copy(&xh, &yh); break;
      case 1: status = rl_fill(&xh, f.below(3)); break;
      case 2: status = rl_add(&xh, &yh, &zh); break;
      case 3: status = rl_embedding(&yh, &wv, &it); break;
      case 4: status = rl_embedding_backward(&gw, &yh, &it); break;
      case 5: status = rl_gather_rows(&yh, &xh, &it); break;
      case 6: status = rl_gather_rows_backward(&yh, &xh, &it); break;
      case 7: status = rl_rms_norm(&yh, &xh, &vh, p); break;
      case 8: status = rl_rms_norm_backward(&yh, maybe(sv), &xh, &zh, &vh, p); break;
      case 9: status = rl_rope_table(&table, &it, &freq); break;
      case 10: status = rl_rope(&q, &o, &table, window); break;
      case 11: status = rl_swiglu(&xh, &yh, &zh); break;
      case 12: status = rl_swiglu_backward(&xh, &yh, &zh, &gh, &qh); break;
      case 13: status = rl_linear(&yv, &xh, w, maybe(sv), window); break;
      case 14: status = rl_linear_backward_input(&xh, &yv, w, window); break;
      case 15: status = rl_linear_backward_weight(&gw, maybe(sv), &yv, &xh); break;
      case 16: status = rl_lora(&yv, &hr, &xh, segments.data(), n, f.below(2) ? &drop : nullptr); break;
      case 17: status = rl_lora_backward(maybe(yh), &yv, &xh, &hr, segments.data(), n, f.below(2) ? &drop : nullptr); break;
      case 18: status = rl_dropout_apply(&yh, &xh, &drop); break;
      case 19: status = rl_attention(&o, &lse, &q, &k, &v, &cu, p, window); break;
      case 20: status = rl_attention_backward(&gq, &gk, &gv, &go, &o, &lse, &q, &k, &v, &cu, p, window); break;
      case 21: status = rl_kv_append(&ck, &cv, &k, &v, &it, &jt); break;
      case 22: status = rl_attention_decode(&o, &q, &ck, &cv, &it, &jt, p, window); break;
      case 23: status = rl_head_logprob(&at, maybe(bt), &ct, &xh, w, &it, p); break;
      case 24: status = rl_head_logprob_backward(maybe(yh), maybe(gw), &at, maybe(bt), &xh, w, &it, &ct, maybe(dt), p); break;
      case 25: status = rl_head_cross_entropy(&one, maybe(yh), maybe(gw), &xh, w, &it, p); break;
      case 26: status = rl_head_full_kl(&at, &bt, &ct, &xh, w, &zh, w2, p); break;
      case 27: status = rl_head_full_kl_backward(maybe(yh), maybe(gw), &at, &xh, w, &zh, w2, &bt, &ct, &dt, p); break;
      case 28: status = rl_scalar_head(&at, &xh, &vh, maybe(one)); break;
      case 29: status = rl_scalar_head_backward(maybe(yh), maybe(vh), maybe(one), &at, &xh, &vh); break;
      case 30: status = rl_kl_penalty(&at, &bt, &ct, static_cast<int32_t>(f.below(6)) - 1); break;
      case 31: status = rl_shaped_rewards(&at, &bt, &ct, &cu, p); break;
      case 32: status = rl_gae(&at, &bt, &ct, &dt, &cu, p, s); break;
      case 33: status = rl_whiten(&at, f.below(2) ? &at : &bt, window); break;
      case 34: status = rl_ppo_loss(&stats, &at, &bt, &ct, &dt, &et, &ft, &gt, &ht, &ppo); break;
      case 35: status = rl_pairwise_loss(&stats, &at, &bt, &ct, &dt, maybe(et), p, s); break;
      case 36: status = rl_grad_norm(&one, &xh); break;
      case 37: status = rl_adamw(&at, &bt, &ct, &dt, maybe(one), &adamw); break;
      case 38: status = rl_sample(&it, maybe(at), &gw, &jt, &cu, maybe(iv), maybe(jt), &sample); break;
      default: {
        std::vector<char> host(64);
        const int64_t bytes = f.below(2) ? 64 : -f.below(4);
        status = f.below(2) ? rl_copy_from_host(&at, host.data(), bytes) : rl_copy_to_host(host.data(), &at, bytes);
      }
    }
    ASSERT_TRUE(status == RL_OK || status == RL_INVALID_ARGUMENT || status == RL_INVALID_HANDLE || status == RL_OUT_OF_MEMORY)
        << "round " << round << ": " << status << " " << rl_last_error();
    (status == RL_OK ? ok : refused)++;
  }
  EXPECT_GT(ok, 1500);  // the garbage is good enough to reach kernels
  EXPECT_GT(refused, 1500);
  RL_CHECK(rl_device_close(d));
}

}  // namespace
}  // namespace rl::test
