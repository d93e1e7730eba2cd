#include <memory>

#include "../src/dispatch/philox.h"
#include "support.h"

namespace rl::test {
namespace {

using Doubles = std::vector<double>;

double keep(const rl_dropout &d, size_t row, size_t column) {
  const Philox4 words = philox(d.seed, d.stream, static_cast<uint32_t>(row), static_cast<uint32_t>(column / 4));
  return philox_uniform(words.word[column % 4]) < d.p ? 0 : 1 / (1 - static_cast<double>(d.p));
}

/// One adapter with its tensors.
struct Adapter {
  Adapter(int64_t rank, int64_t k, int64_t n, float scale, uint32_t seed)
      : rank(static_cast<size_t>(rank)),
        scale(scale),
        a(random_floats(rank * k, seed)),
        b(random_floats(n * rank, seed + 1)),
        ta({rank, k}, a),
        tb({n, rank}, b),
        tga({rank, k}, Floats(a.size(), 1.0f)),
        tgb({n, rank}, Floats(b.size(), 2.0f)) {}
  rl_lora_segment segment(int64_t begin, int64_t end, bool trained) {
    rl_lora_segment s{};
    s.begin = begin;
    s.end = end;
    s.scale = scale;
    s.a = ta.raw();
    s.b = tb.raw();
    if (trained) s.gradA = tga.raw(), s.gradB = tgb.raw();
    return s;
  }
  size_t rank;
  float scale;
  Floats a, b;
  Tensor ta, tb, tga, tgb;
};

/// Rows begin .. end - 1 of the op in double: y += scale drop(x) a^T b^T.
void add_reference(Doubles &y, Doubles *h, size_t ldH, const Doubles &x, const Doubles &a, const Doubles &b,
                   size_t begin, size_t end, size_t k, size_t n, double scale, const rl_dropout &d) {
  const size_t rank = a.size() / k;
  for (size_t t = begin; t < end; t++) {
    for (size_t j = 0; j < rank; j++) {
      double sum = 0;
      for (size_t i = 0; i < k; i++) sum += x[t * k + i] * keep(d, t, i) * a[j * k + i];
      if (h) (*h)[t * ldH + j] = sum;
      for (size_t i = 0; i < n; i++) y[t * n + i] += scale * sum * b[i * rank + j];
    }
  }
}

/// Sums of some hundred products of normal numbers, each sum the factor of others: errors grow as the largest result.
void expect_sums(const Floats &got, const Floats &want, int32_t dtype, const std::string &what) {
  if (dtype == RL_BF16) return expect_matches(got, want, dtype, what);
  double largest = 0;
  for (float w : want) largest = std::max(largest, std::abs(static_cast<double>(w)));
  expect_close(got, want, 1e-6 * largest + 1e-5, 1e-4, what);
}

struct Shape {
  int64_t rows, k, n;
  std::vector<int64_t> ranks;                           // of the adapters
  std::vector<std::tuple<int64_t, int64_t, int>> runs;  // begin, end, adapter
};

const Shape kShapes[] = {
    {1, 1, 1, {1}, {{0, 1, 0}}},
    {3, 64, 64, {8}, {{0, 3, 0}}},
    {9, 67, 33, {4, 3}, {{0, 2, 0}, {4, 9, 1}}},
    {70, 130, 65, {8, 16, 5}, {{1, 20, 0}, {20, 20, 1}, {20, 50, 2}, {55, 70, 1}}},
    {200, 96, 161, {64}, {{0, 100, 0}, {150, 200, 0}}},
};

class Lora : public testing::TestWithParam<std::tuple<int, int32_t, int32_t, float>> {};

TEST_P(Lora, MatchesReference) {
  const auto [index, dtype, y_dtype, p] = GetParam();
  const Shape &shape = kShapes[index];
  const int64_t rows = shape.rows, k = shape.k, n = shape.n;
  const rl_dropout dropout = {p, 0, 0x1234567890abcdefu, 0xfedcba0987654321u};
  const size_t sk = static_cast<size_t>(k), sn = static_cast<size_t>(n);

  std::vector<std::unique_ptr<Adapter>> adapters;
  for (size_t i = 0; i < shape.ranks.size(); i++) {
    adapters.push_back(std::make_unique<Adapter>(shape.ranks[i], k, n, 0.5f + static_cast<float>(i),
                                                 10 + static_cast<uint32_t>(i) * 2));
  }
  const bool frozen_last = shape.ranks.size() > 2;
  std::vector<rl_lora_segment> segments;
  for (const auto &[begin, end, adapter] : shape.runs) {
    const bool trained = !(frozen_last && adapter == static_cast<int>(shape.ranks.size()) - 1);
    segments.push_back(adapters[static_cast<size_t>(adapter)]->segment(begin, end, trained));
  }
  const int64_t room = *std::max_element(shape.ranks.begin(), shape.ranks.end()) + 1;
  const Floats x = random_floats(rows * k, 1, dtype), start = random_floats(rows * n, 2, y_dtype);
  Tensor tx({rows, k}, x, dtype), ty({rows, n}, start, y_dtype),
      th({rows, room}, Floats(static_cast<size_t>(rows * room), 7.0f));
  const int32_t count = static_cast<int32_t>(segments.size());
  RL_CHECK(rl_lora(ty, th, tx, segments.data(), count, p > 0 ? &dropout : nullptr));

  Doubles want = doubles(start), h(static_cast<size_t>(rows * room), 7.0);
  for (const auto &[begin, end, adapter] : shape.runs) {
    const Adapter &a = *adapters[static_cast<size_t>(adapter)];
    add_reference(want, &h, static_cast<size_t>(room), doubles(x), doubles(a.a), doubles(a.b),
                  static_cast<size_t>(begin), static_cast<size_t>(end), sk, sn, static_cast<double>(a.scale), dropout);
  }
  expect_sums(ty.get(), Floats(want.begin(), want.end()), y_dtype, "y");
  expect_sums(th.get(), Floats(h.begin(), h.end()), RL_F32, "h");

  // Backward, from the definition.
  const Floats g = random_floats(rows * n, 3, y_dtype), gx_start = random_floats(rows * k, 4, dtype);
  Tensor tg({rows, n}, g, y_dtype), tgx({rows, k}, gx_start, dtype);
  Doubles gx = doubles(gx_start);
  std::vector<Doubles> ga, gb;
  for (const auto &a : adapters) {
    ga.emplace_back(a->a.size(), 1.0);
    gb.emplace_back(a->b.size(), 2.0);
  }
  for (const auto &[begin, end, adapter] : shape.runs) {
    const Adapter &a = *adapters[static_cast<size_t>(adapter)];
    for (size_t t = static_cast<size_t>(begin); t < static_cast<size_t>(end); t++) {
      for (size_t j = 0; j < a.rank; j++) {
        double gh = 0;
        for (size_t i = 0; i < sn; i++) {
          gh += static_cast<double>(a.scale) * static_cast<double>(g[t * sn + i]) *
                static_cast<double>(a.b[i * a.rank + j]);
          gb[static_cast<size_t>(adapter)][i * a.rank + j] +=
              static_cast<double>(a.scale) * static_cast<double>(g[t * sn + i]) * h[t * static_cast<size_t>(room) + j];
        }
        for (size_t i = 0; i < sk; i++) {
          const double mask = keep(dropout, t, i);
          gx[t * sk + i] += gh * static_cast<double>(a.a[j * sk + i]) * mask;
          ga[static_cast<size_t>(adapter)][j * sk + i] += gh * static_cast<double>(x[t * sk + i]) * mask;
        }
      }
    }
  }
  RL_CHECK(rl_lora_backward(tgx, tg, tx, th, segments.data(), count, p > 0 ? &dropout : nullptr));
  expect_sums(tgx.get(), Floats(gx.begin(), gx.end()), dtype, "gradX");
  for (size_t i = 0; i < adapters.size(); i++) {
    if (frozen_last && i + 1 == adapters.size()) {
      EXPECT_EQ(adapters[i]->tga.get(), Floats(ga[i].size(), 1.0f));
      EXPECT_EQ(adapters[i]->tgb.get(), Floats(gb[i].size(), 2.0f));
      continue;
    }
    expect_sums(adapters[i]->tga.get(), Floats(ga[i].begin(), ga[i].end()), RL_F32, "gradA");
    expect_sums(adapters[i]->tgb.get(), Floats(gb[i].begin(), gb[i].end()), RL_F32, "gradB");
  }
  RL_CHECK(rl_lora_backward(nullptr, tg, tx, th, segments.data(), count, p > 0 ? &dropout : nullptr));
}

INSTANTIATE_TEST_SUITE_P(Shapes, Lora,
                         testing::Combine(testing::Range(0, 5), testing::Values(RL_F32, RL_BF16),
                                          testing::Values(RL_F32, RL_BF16), testing::Values(0.0f, 0.3f)));

TEST(LoraGradient, AgreesWithCentralDifferences) {
  const int64_t rows = 4, k = 6, n = 5;
  const rl_dropout dropout = {0.25f, 0, 11, 12};
  Adapter adapter(3, k, n, 0.75f, 1);
  const Floats x = random_floats(rows * k, 5), g = random_floats(rows * n, 6);
  Tensor tx({rows, k}, x), tg({rows, n}, g), ty({rows, n}, Floats(20, 0.0f)), th({rows, 3}),
      tgx({rows, k}, Floats(24, 0.0f));
  adapter.tga.set(Floats(18, 0.0f));
  adapter.tgb.set(Floats(15, 0.0f));
  const rl_lora_segment s = adapter.segment(1, 4, true);
  RL_CHECK(rl_lora(ty, th, tx, &s, 1, &dropout));
  RL_CHECK(rl_lora_backward(tgx, tg, tx, th, &s, 1, &dropout));
  auto loss = [&](const Doubles &vx, const Doubles &va, const Doubles &vb) {
    Doubles y(20, 0.0);
    add_reference(y, nullptr, 0, vx, va, vb, 1, 4, 6, 5, 0.75, dropout);
    double sum = 0;
    for (size_t i = 0; i < y.size(); i++) sum += y[i] * static_cast<double>(g[i]);
    return sum;
  };
  const Doubles dx = doubles(x), da = doubles(adapter.a), db = doubles(adapter.b);
  expect_matches(tgx.get(), central_differences(dx, [&](const Doubles &v) { return loss(v, da, db); }), RL_F32, "gradX",
                 true);
  expect_matches(adapter.tga.get(), central_differences(da, [&](const Doubles &v) { return loss(dx, v, db); }), RL_F32,
                 "gradA", true);
  expect_matches(adapter.tgb.get(), central_differences(db, [&](const Doubles &v) { return loss(dx, da, v); }), RL_F32,
                 "gradB", true);
}

TEST(LoraRows, MayBeStrided) {
  const int64_t rows = 10, k = 20, n = 24, wide = 90;
  const rl_dropout dropout = {};
  Adapter adapter(4, k, n, 1.0f, 1);
  const Floats x = random_floats(rows * wide, 2), y = random_floats(rows * wide, 3);
  Tensor tx({rows, wide}, x), ty({rows, wide}, y), th({rows, 4});
  rl_tensor px = tx.raw(), py = ty.raw();
  px.offset = 4 * 7, px.shape[1] = k;
  py.offset = 4 * 31, py.shape[1] = n;
  const rl_lora_segment s = adapter.segment(0, rows, false);
  RL_CHECK(rl_lora(&py, th, &px, &s, 1, nullptr));
  Doubles dense_x, dense_y;
  for (size_t t = 0; t < 10; t++) {
    for (size_t i = 0; i < 20; i++) dense_x.push_back(static_cast<double>(x[t * 90 + 7 + i]));
    for (size_t i = 0; i < 24; i++) dense_y.push_back(static_cast<double>(y[t * 90 + 31 + i]));
  }
  add_reference(dense_y, nullptr, 0, dense_x, doubles(adapter.a), doubles(adapter.b), 0, 10, 20, 24, 1, dropout);
  Floats want = y;
  for (size_t i = 0; i < dense_y.size(); i++) want[i / 24 * 90 + 31 + i % 24] = static_cast<float>(dense_y[i]);
  expect_close(ty.get(), want, 1e-4, 1e-4, "y");
}

TEST(LoraErrors, NamesOpArgumentExpectedAndFound) {
  Adapter adapter(4, 6, 5, 1.0f, 1);
  Tensor x({3, 6}, Floats(18, 1.0f)), y({3, 5}, Floats(15, 1.0f)), h({3, 4}), narrow({3, 3}), wrong({3, 7});
  const rl_lora_segment good = adapter.segment(0, 3, true);
  auto run = [&](rl_lora_segment s, const rl_dropout *d = nullptr) { return rl_lora(y, h, x, &s, 1, d); };
  RL_CHECK(run(good));
  expect_error(run(adapter.segment(0, 4, false)), RL_INVALID_ARGUMENT,
               {"lora", "segments[0]", "up to 3", "found 0 to 4"});
  expect_error(run(adapter.segment(2, 1, false)), RL_INVALID_ARGUMENT, {"segments[0]", "found 2 to 1"});
  expect_error(run(adapter.segment(-1, 1, false)), RL_INVALID_ARGUMENT, {"segments[0]", "found -1 to 1"});
  const rl_lora_segment twice[2] = {good, good};
  expect_error(rl_lora(y, h, x, twice, 2, nullptr), RL_INVALID_ARGUMENT, {"segments[1]", "from 3 on"});
  rl_lora_segment bad = good;
  bad.b = adapter.ta.raw();
  expect_error(run(bad), RL_INVALID_ARGUMENT, {"segments[0].b: expected shape [5,4], found [4,6]"});
  bad = good;
  bad.a.buffer = 0;
  expect_error(run(bad), RL_INVALID_HANDLE, {"segments[0].a", "closed"});
  expect_error(rl_lora(y, narrow, x, &good, 1, nullptr), RL_INVALID_ARGUMENT,
               {"h: expected at least 4 columns", "found 3"});
  expect_error(rl_lora(y, h, x, nullptr, 1, nullptr), RL_INVALID_ARGUMENT, {"segments", "null"});
  const rl_dropout all = {1.0f, 0, 0, 0};
  expect_error(run(good, &all), RL_INVALID_ARGUMENT, {"dropout", "found 1"});
  bad = good;
  bad.gradB.buffer = 0;
  expect_error(rl_lora_backward(nullptr, y, x, h, &bad, 1, nullptr), RL_INVALID_ARGUMENT,
               {"lora_backward", "both gradA and gradB"});
  expect_error(rl_lora_backward(wrong, y, x, h, &good, 1, nullptr), RL_INVALID_ARGUMENT,
               {"gradX: expected shape [3,6], found [3,7]"});
  expect_error(rl_dropout_apply(y, x, nullptr), RL_INVALID_ARGUMENT,
               {"dropout_apply", "y: expected shape [3,6], found [3,5]"});
  RL_CHECK(rl_lora(y, h, x, nullptr, 0, nullptr));
}

// Every tensor of every segment is checked, however many there are.
TEST(LoraErrors, OverlapInTheLastOfManySegments) {
  const int64_t rows = 20;
  Tensor x({rows, 6}, Floats(120, 1.0f)), y({rows, 5}, Floats(100, 1.0f)), h({rows, 4}, Floats(80, 1.0f));
  std::vector<std::unique_ptr<Adapter>> adapters;
  std::vector<rl_lora_segment> segments;
  for (uint32_t i = 0; i < rows; i++) {
    adapters.push_back(std::make_unique<Adapter>(4, 6, 5, 1.0f, i));
    segments.push_back(adapters.back()->segment(i, i + 1, true));
  }
  RL_CHECK(rl_lora_backward(nullptr, y, x, h, segments.data(), static_cast<int32_t>(rows), nullptr));
  segments.back().gradA = segments.back().a;
  expect_error(rl_lora_backward(nullptr, y, x, h, segments.data(), static_cast<int32_t>(rows), nullptr),
               RL_INVALID_ARGUMENT, {"segments[19].gradA", "overlaps segments[19].a"});
}

class DropoutApply : public testing::TestWithParam<std::tuple<int64_t, int32_t>> {};

TEST_P(DropoutApply, DropsByCounter) {
  const auto [n, dtype] = GetParam();
  const int64_t rows = 50;
  const rl_dropout dropout = {0.2f, 0, 42, (uint64_t{7} << 32) | 3};
  const Floats x = random_floats(rows * n, 1, dtype);
  Tensor tx({rows, n}, x, dtype), ty({rows, n}, dtype);
  RL_CHECK(rl_dropout_apply(ty, tx, &dropout));
  Floats want(x.size());
  for (size_t i = 0; i < x.size(); i++) {
    want[i] = static_cast<float>(static_cast<double>(x[i]) *
                                 keep(dropout, i / static_cast<size_t>(n), i % static_cast<size_t>(n)));
  }
  expect_matches(ty.get(), want, dtype, "y");
  RL_CHECK(rl_dropout_apply(ty, tx, nullptr));
  EXPECT_EQ(ty.get(), x);
}

INSTANTIATE_TEST_SUITE_P(Columns, DropoutApply,
                         testing::Combine(testing::Values(1, 6, 64, 203), testing::Values(RL_F32, RL_BF16)));

TEST(DropoutShare, IsP) {
  const rl_dropout dropout = {0.05f, 0, 1, 2};
  Tensor x({500, 400}, Floats(200000, 1.0f)), y({500, 400});
  RL_CHECK(rl_dropout_apply(y, x, &dropout));
  double dropped = 0;
  for (float v : y.get()) dropped += v == 0;
  EXPECT_NEAR(dropped / 200000, 0.05, 0.002);  // four standard deviations
}

}  // namespace
}  // namespace rl::test
