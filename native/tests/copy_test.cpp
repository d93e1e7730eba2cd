#include "support.h"

namespace rl::test {
namespace {

uint16_t f32_to_f16(float x) {
  const _Float16 h = static_cast<_Float16>(x);
  uint16_t bits;
  std::memcpy(&bits, &h, 2);
  return bits;
}

float f16_to_f32(uint16_t bits) {
  _Float16 h;
  std::memcpy(&h, &bits, 2);
  return static_cast<float>(h);
}

/// The bytes of `values` in a dtype.
std::vector<uint8_t> encode(const Floats &values, int32_t dtype) {
  std::vector<uint8_t> bytes;
  for (float v : values) {
    uint8_t b[4];
    size_t n = 2;
    const uint16_t half = dtype == RL_BF16 ? f32_to_bf16(v) : f32_to_f16(v);
    if (dtype == RL_F32) {
      std::memcpy(b, &v, n = 4);
    } else {
      std::memcpy(b, &half, 2);
    }
    bytes.insert(bytes.end(), b, b + n);
  }
  return bytes;
}

Floats decode(const std::vector<uint8_t> &bytes, int32_t dtype) {
  Floats values;
  const size_t n = dtype == RL_F32 ? 4 : 2;
  for (size_t i = 0; i < bytes.size(); i += n) {
    float v;
    uint16_t half;
    std::memcpy(&half, &bytes[i], 2);
    if (dtype == RL_F32) {
      std::memcpy(&v, &bytes[i], 4);
    } else {
      v = dtype == RL_BF16 ? bf16_to_f32(half) : f16_to_f32(half);
    }
    values.push_back(v);
  }
  return values;
}

std::vector<uint8_t> read(const rl_tensor *t, size_t bytes) {
  std::vector<uint8_t> out(bytes);
  EXPECT_EQ(rl_copy_to_host(out.data(), t, static_cast<int64_t>(bytes)), RL_OK) << rl_last_error();
  return out;
}

/// What storing `v` in `dtype` keeps of it.
float rounded(float v, int32_t dtype) {
  return dtype == RL_F32 ? v : dtype == RL_BF16 ? bf16_to_f32(f32_to_bf16(v)) : f16_to_f32(f32_to_f16(v));
}

class Copy : public testing::TestWithParam<std::tuple<int32_t, int32_t, int64_t>> {};

TEST_P(Copy, ConvertsToTheBit) {
  const auto [from, to, n] = GetParam();
  Floats x = random_floats(n, 5, RL_F32, 100);
  const Floats special = {0.0f,   -0.0f,    1.0f,    -1.0f,     65504.0f, 1e-7f,  6e-8f,    -3e-5f, INFINITY,
                          -INFINITY, 1.00390625f, 1.01171875f, 2049.0f, 70000.0f, 1e38f, -1e-38f, 1e-40f};
  for (size_t i = 0; i < special.size() && i < x.size(); i++) x[x.size() - 1 - i] = special[i];
  for (float &v : x) v = rounded(v, from);
  Tensor tx({n}, from), ty({n}, to);
  const std::vector<uint8_t> bytes = encode(x, from);
  RL_CHECK(rl_copy_from_host(tx, bytes.data(), static_cast<int64_t>(bytes.size())));
  RL_CHECK(rl_copy(ty, tx));
  Floats want = x;
  for (float &v : want) v = rounded(v, to);
  const std::vector<uint8_t> got = read(ty, static_cast<size_t>(n) * (to == RL_F32 ? 4 : 2));
  const Floats values = decode(got, to);
  for (size_t i = 0; i < values.size(); i++) {
    ASSERT_EQ(values[i], want[i]) << i << " of " << x[i];
    ASSERT_EQ(std::signbit(values[i]), std::signbit(want[i])) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Pairs, Copy,
                         testing::Combine(testing::Values(RL_F32, RL_BF16, RL_F16), testing::Values(RL_F32, RL_BF16, RL_F16),
                                          testing::Values(1, 17, 1000, 150001)));

TEST(Copy, NotANumberStaysOne) {
  for (int32_t from : {RL_F32, RL_BF16, RL_F16}) {
    for (int32_t to : {RL_F32, RL_BF16, RL_F16}) {
      // Of f32, one NaN whose upper half alone would read as infinity.
      std::vector<uint8_t> bytes = from == RL_F32 ? std::vector<uint8_t>{1, 0, 0x80, 0x7f}
                                                  : encode({NAN}, from);
      Tensor tx({1}, from), ty({1}, to);
      RL_CHECK(rl_copy_from_host(tx, bytes.data(), static_cast<int64_t>(bytes.size())));
      RL_CHECK(rl_copy(ty, tx));
      EXPECT_TRUE(std::isnan(decode(read(ty, to == RL_F32 ? 4 : 2), to)[0])) << from << " to " << to;
    }
  }
}

TEST(Copy, StridedRowsBothWaysLeaveTheRestAlone) {
  for (int64_t rows : {int64_t{1}, int64_t{5}, int64_t{3000}}) {
    const int64_t width = 41, n = 7, from = 11, to = 3;
    for (int32_t dx : {RL_F32, RL_BF16}) {
      for (int32_t dy : {RL_F32, RL_BF16}) {
        const Floats x = random_floats(rows * width, 8, RL_BF16), y(static_cast<size_t>(rows * 13), 4.0f);
        Tensor tx({rows, width}, x, dx), ty({rows, 13}, y, dy);
        const rl_tensor vx = columns(tx, from, {rows, n}), vy = columns(ty, to, {rows, n});
        RL_CHECK(rl_copy(&vy, &vx));
        const Floats got = ty.get();
        EXPECT_EQ(slice(got, 13, to, n), slice(x, width, from, n));
        EXPECT_EQ(slice(got, 13, 0, to), Floats(static_cast<size_t>(rows * to), 4.0f));
        EXPECT_EQ(slice(got, 13, to + n, 13 - to - n), Floats(static_cast<size_t>(rows * (13 - to - n)), 4.0f));
      }
    }
  }
}

TEST(Copy, IntegersAndBytes) {
  Ints ids(70000);
  for (size_t i = 0; i < ids.size(); i++) ids[i] = static_cast<int32_t>(i * 2654435761u);
  Tensor a({70000}, ids), b({70000}, RL_I32);
  RL_CHECK(rl_copy(b, a));
  EXPECT_EQ(b.get_ints(), ids);
  std::vector<uint8_t> bytes(333);
  for (size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<uint8_t>(i);
  Tensor c({3, 111}, RL_U8), d({3, 111}, RL_U8);
  RL_CHECK(rl_copy_from_host(c, bytes.data(), 333));
  RL_CHECK(rl_copy(d, c));
  EXPECT_EQ(read(d, 333), bytes);
}

TEST(Copy, EveryRankAndNothingAtAll) {
  Tensor a({}, Floats{7}), b({}, RL_F32);
  RL_CHECK(rl_copy(b, a));
  EXPECT_EQ(b.get(), Floats{7});
  const Floats x = random_floats(2 * 3 * 4 * 5, 1);
  Tensor c({2, 3, 4, 5}, x), d({2, 3, 4, 5});
  RL_CHECK(rl_copy(d, c));
  EXPECT_EQ(d.get(), x);
  Tensor e({0, 8}), f({0, 8});
  RL_CHECK(rl_copy(f, e));
  Tensor g({8, 0}), h({8, 0});
  RL_CHECK(rl_copy(h, g));
}

TEST(CopyErrors, NamesWhatIsWrong) {
  Tensor x({4, 8}), y({4, 8}), other({8, 4}), ids({4, 8}, RL_I32), bytes({4, 8}, RL_U8);
  expect_error(rl_copy(nullptr, x), RL_INVALID_ARGUMENT, {"copy", "y", "null"});
  expect_error(rl_copy(y, nullptr), RL_INVALID_ARGUMENT, {"copy", "x", "null"});
  expect_error(rl_copy(other, x), RL_INVALID_ARGUMENT, {"y", "expected shape [4,8]", "found [8,4]"});
  expect_error(rl_copy(ids, x), RL_INVALID_ARGUMENT, {"y", "f32", "found i32"});
  expect_error(rl_copy(y, ids), RL_INVALID_ARGUMENT, {"y", "i32", "found f32"});
  expect_error(rl_copy(bytes, ids), RL_INVALID_ARGUMENT, {"y", "i32", "found u8"});
  expect_error(rl_copy(x, x), RL_INVALID_ARGUMENT, {"y", "overlaps x"});
}

TEST(CopyHost, SizesMustAgree) {
  Tensor x({3});
  const float values[3] = {1, 2, 3};
  float out[3];
  expect_error(rl_copy_from_host(x, values, 8), RL_INVALID_ARGUMENT, {"copy_from_host", "bytes", "expected the tensor's 12", "found 8"});
  expect_error(rl_copy_to_host(out, x, 16), RL_INVALID_ARGUMENT, {"copy_to_host", "bytes", "expected the tensor's 12", "found 16"});
  expect_error(rl_copy_from_host(x, nullptr, 12), RL_INVALID_ARGUMENT, {"src", "null"});
  expect_error(rl_copy_to_host(nullptr, x, 12), RL_INVALID_ARGUMENT, {"dst", "null"});
  Tensor wide({4, 6});
  const rl_tensor slice = columns(wide, 0, {4, 3});
  expect_error(rl_copy_from_host(&slice, values, 48), RL_INVALID_ARGUMENT, {"dst", "dense", "row stride 6"});
  expect_error(rl_copy_to_host(out, &slice, 48), RL_INVALID_ARGUMENT, {"src", "dense", "row stride 6"});
}

}  // namespace
}  // namespace rl::test
