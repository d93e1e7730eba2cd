#include "support.h"

namespace rl::test {
namespace {

double f16_value(uint16_t bits) {
  const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24));
}

/// The nearest f16, ties to even, by arithmetic rather than by bits.
uint16_t f16_bits(double x) {
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const double a = std::abs(x);
  if (a >= 65520) return sign | 0x7c00;
  if (a == 0) return sign;
  const int exponent = std::max(std::ilogb(a), -14);
  const double units = std::nearbyint(std::ldexp(a, 10 - exponent));  // the default mode: to nearest even
  return static_cast<uint16_t>(sign + ((exponent + 14) << 10) + static_cast<int>(units));
}

template <class T>
std::vector<T> raw(const rl_tensor *t, size_t n) {
  std::vector<T> bits(n);
  EXPECT_EQ(rl_copy_to_host(bits.data(), t, static_cast<int64_t>(n * sizeof(T))), RL_OK) << rl_last_error();
  return bits;
}

template <class T>
void put(Tensor &t, const std::vector<T> &bits) {
  ASSERT_EQ(rl_copy_from_host(t, bits.data(), static_cast<int64_t>(bits.size() * sizeof(T))), RL_OK) << rl_last_error();
}

TEST(Copy, EveryF16WidensAndComesBack) {
  std::vector<uint16_t> bits(65536);
  for (size_t i = 0; i < bits.size(); i++) bits[i] = static_cast<uint16_t>(i);
  Tensor half({65536}, RL_F16), wide({65536}), back({65536}, RL_F16), same({65536}, RL_F16);
  put(half, bits);
  RL_CHECK(rl_copy(wide, half));
  RL_CHECK(rl_copy(back, wide));
  RL_CHECK(rl_copy(same, half));
  const Floats got = wide.get();
  const auto returned = raw<uint16_t>(back, bits.size());
  EXPECT_EQ(raw<uint16_t>(same, bits.size()), bits);
  for (size_t i = 0; i < bits.size(); i++) {
    const double want = f16_value(bits[i]);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(got[i]) && std::isnan(f16_value(returned[i]))) << i;
    } else {
      ASSERT_EQ(static_cast<double>(got[i]), want) << i;
      ASSERT_EQ(std::signbit(got[i]), std::signbit(want)) << i;
      ASSERT_EQ(returned[i], bits[i]);
    }
  }
}

// Values between, on and around the ties of every finite f16, in both signs; beyond the range; single and wide.
TEST(Copy, F32RoundsToTheNearestF16) {
  Floats x{0.0f, -0.0f, 65504, 65519.99f, 65520, 65536, 1e30f, INFINITY, 1e-8f, 2.9802322e-8f, 2.9802326e-8f, 1e-40f};
  for (uint32_t i = 0; i < 31743; i++) {
    const float low = static_cast<float>(f16_value(static_cast<uint16_t>(i)));
    const float high = static_cast<float>(f16_value(static_cast<uint16_t>(i + 1)));
    const float tie = (low + high) / 2;
    for (float v : {tie, std::nextafter(tie, 0.0f), std::nextafter(tie, 1e9f)}) {
      x.push_back(v);
      x.push_back(-v);
    }
  }
  const int64_t n = static_cast<int64_t>(x.size());
  Tensor from({n}, x), to({n}, RL_F16);
  RL_CHECK(rl_copy(to, from));
  const auto got = raw<uint16_t>(to, x.size());
  for (size_t i = 0; i < x.size(); i++) ASSERT_EQ(got[i], f16_bits(static_cast<double>(x[i]))) << x[i];
}

TEST(Copy, F32RoundsToTheNearestBf16) {
  Floats x = random_floats(1001, 1);
  x.insert(x.end(), {1.00390625f, 1.01171875f, -1.00390625f, 0.0f, -0.0f, INFINITY, 3.4e38f, 1e-40f});
  const int64_t n = static_cast<int64_t>(x.size());
  Tensor from({n}, x), to({n}, RL_BF16), back({n});
  RL_CHECK(rl_copy(to, from));
  RL_CHECK(rl_copy(back, to));
  const auto got = raw<uint16_t>(to, x.size());
  for (size_t i = 0; i < x.size(); i++) {
    ASSERT_EQ(got[i], f32_to_bf16(x[i])) << x[i];
    ASSERT_EQ(back.get()[i], bf16_to_f32(got[i]));
  }
  Tensor nan({17}, Floats(17, NAN)), small({17}, RL_BF16), half({17}, RL_F16), bf16_of_half({17}, RL_BF16);
  RL_CHECK(rl_copy(small, nan));
  for (float v : small.get()) EXPECT_TRUE(std::isnan(v));
  Tensor some({17}, Floats(17, -2.5f), RL_BF16);
  RL_CHECK(rl_copy(half, some));
  RL_CHECK(rl_copy(bf16_of_half, half));
  EXPECT_EQ(bf16_of_half.get(), Floats(17, -2.5f));
}

// Rows of one tensor into rows of another: nothing beside them moves.
TEST(Copy, StridedRows) {
  for (int32_t from : {RL_F32, RL_BF16}) {
    for (int32_t to : {RL_F32, RL_BF16}) {
      const Floats values = random_floats(5 * 20, 3, RL_BF16);
      Tensor x({5, 20}, values, from), y({5, 24}, Floats(5 * 24, 9.0f), to);
      rl_tensor a = x.raw(), b = y.raw();
      a.shape[1] = b.shape[1] = 17;
      a.offset = 2 * (from == RL_F32 ? 4 : 2);
      b.offset = 3 * (to == RL_F32 ? 4 : 2);
      RL_CHECK(rl_copy(&b, &a));
      const Floats got = y.get();
      for (size_t r = 0; r < 5; r++) {
        for (size_t c = 0; c < 24; c++) {
          EXPECT_EQ(got[r * 24 + c], c >= 3 && c < 20 ? values[r * 20 + c - 1] : 9.0f) << r << "," << c;
        }
      }
    }
  }
}

TEST(Copy, IntegersAndEmptyTensors) {
  Tensor x({3}, Ints{1, -2, 2147483647}), y({3}, RL_I32);
  RL_CHECK(rl_copy(y, x));
  EXPECT_EQ(y.get_ints(), (Ints{1, -2, 2147483647}));
  Tensor bytes({5}, RL_U8), copied({5}, RL_U8);
  put(bytes, std::vector<uint8_t>{0, 1, 2, 254, 255});
  RL_CHECK(rl_copy(copied, bytes));
  EXPECT_EQ(raw<uint8_t>(copied, 5), (std::vector<uint8_t>{0, 1, 2, 254, 255}));
  Tensor none({0, 4}), nothing({0, 4}, RL_BF16);
  RL_CHECK(rl_copy(nothing, none));
  Tensor scalar({}, Floats{4}), other({});
  RL_CHECK(rl_copy(other, scalar));
  EXPECT_EQ(other.get(), Floats{4});
}

TEST(CopyErrors, NamesOpArgumentExpectedAndFound) {
  Tensor x({4}), y({5}), ids({4}, RL_I32), bytes({4}, RL_U8);
  expect_error(rl_copy(y, x), RL_INVALID_ARGUMENT, {"copy: y: expected shape [4], found [5]"});
  expect_error(rl_copy(ids, x), RL_INVALID_ARGUMENT, {"y: expected f32", "found i32"});
  expect_error(rl_copy(x, ids), RL_INVALID_ARGUMENT, {"y: expected i32", "found f32"});
  expect_error(rl_copy(bytes, ids), RL_INVALID_ARGUMENT, {"found u8"});
  expect_error(rl_copy(x, x), RL_INVALID_ARGUMENT, {"y: expected memory of its own", "overlaps x"});
  expect_error(rl_copy(x, nullptr), RL_INVALID_ARGUMENT, {"x: expected a tensor, found null"});
}

// Every pair of dtypes, from one element to more than one thread's share.
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

class CopyPairs : public testing::TestWithParam<std::tuple<int32_t, int32_t, int64_t>> {};

TEST_P(CopyPairs, ConvertsToTheBit) {
  const auto [from, to, n] = GetParam();
  Floats x = random_floats(n, 5, RL_F32, 100);
  const Floats special = {0.0f,      -0.0f,       1.0f,        -1.0f,   65504.0f, 1e-7f, 6e-8f,   -3e-5f, INFINITY,
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

INSTANTIATE_TEST_SUITE_P(Pairs, CopyPairs,
                         testing::Combine(testing::Values(RL_F32, RL_BF16, RL_F16),
                                          testing::Values(RL_F32, RL_BF16, RL_F16),
                                          testing::Values(1, 17, 1000, 150001)));

TEST(Copy, NotANumberStaysOne) {
  for (int32_t from : {RL_F32, RL_BF16, RL_F16}) {
    for (int32_t to : {RL_F32, RL_BF16, RL_F16}) {
      // Of f32, one NaN whose upper half alone would read as infinity.
      std::vector<uint8_t> bytes = from == RL_F32 ? std::vector<uint8_t>{1, 0, 0x80, 0x7f} : encode({NAN}, from);
      Tensor tx({1}, from), ty({1}, to);
      RL_CHECK(rl_copy_from_host(tx, bytes.data(), static_cast<int64_t>(bytes.size())));
      RL_CHECK(rl_copy(ty, tx));
      EXPECT_TRUE(std::isnan(decode(read(ty, to == RL_F32 ? 4 : 2), to)[0])) << from << " to " << to;
    }
  }
}

}  // namespace
}  // namespace rl::test
