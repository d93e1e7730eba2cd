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
  Floats first;  // gradA of a first run
};

/// Columns [from, to) of a case and what lies on them.
struct Range {
  int64_t from, to;
  std::vector<int64_t> ranks;                           // of the adapters
  std::vector<std::tuple<int64_t, int64_t, int>> runs;  // begin, end, adapter
  rl_dropout dropout;
};

struct Case {
  int64_t rows, k, n;
  std::vector<Range> ranges;
};

rl_dropout drop(float p, uint64_t stream) { return {p, 0, 0x1234567890abcdefu, 0xfedcba0987654321u + stream}; }

/// The adapters of a range. The last of three is frozen.
struct Loras {
  Loras(const Range &range, int64_t rows, int64_t k, uint32_t seed)
      : range(range),
        room(*std::max_element(range.ranks.begin(), range.ranks.end()) + 1),
        h({rows, room}, Floats(static_cast<size_t>(rows * room), 7.0f)) {
    for (size_t i = 0; i < range.ranks.size(); i++) {
      adapters.push_back(std::make_unique<Adapter>(range.ranks[i], k, range.to - range.from,
                                                   0.5f + static_cast<float>(i), seed + static_cast<uint32_t>(i) * 2));
    }
    for (const auto &[begin, end, adapter] : range.runs)
      segments.push_back(adapters[static_cast<size_t>(adapter)]->segment(begin, end, !is_frozen(adapter)));
  }
  bool is_frozen(int adapter) const { return adapter == 2; }
  rl_lora raw() const {
    return {range.from,
            range.to,
            *static_cast<const rl_tensor *>(h),
            segments.data(),
            static_cast<int32_t>(segments.size()),
            0,
            range.dropout};
  }
  Range range;
  int64_t room;
  Tensor h;
  std::vector<std::unique_ptr<Adapter>> adapters;
  std::vector<rl_lora_segment> segments;
};

/// The op from its definition, in double. Everything is an input but h and what it returns.
Doubles reference(const Case &c, const Doubles &x, const Doubles &w, const Floats &bias,
                  const std::vector<std::vector<std::pair<Doubles, Doubles>>> &adapters,
                  const std::vector<std::vector<double>> &scales, std::vector<Doubles> *h) {
  const size_t rows = static_cast<size_t>(c.rows), k = static_cast<size_t>(c.k), n = static_cast<size_t>(c.n);
  Doubles y(rows * n);
  for (size_t t = 0; t < rows; t++) {
    for (size_t i = 0; i < n; i++) {
      double sum = bias.empty() ? 0 : static_cast<double>(bias[i]);
      for (size_t j = 0; j < k; j++) sum += x[t * k + j] * w[i * k + j];
      y[t * n + i] = sum;
    }
  }
  for (size_t q = 0; q < c.ranges.size(); q++) {
    const Range &range = c.ranges[q];
    const size_t room = static_cast<size_t>(*std::max_element(range.ranks.begin(), range.ranks.end()) + 1);
    if (h) h->push_back(Doubles(rows * room, 7.0));
    for (const auto &[begin, end, adapter] : range.runs) {
      const auto &[a, b] = adapters[q][static_cast<size_t>(adapter)];
      const size_t rank = a.size() / k;
      for (size_t t = static_cast<size_t>(begin); t < static_cast<size_t>(end); t++) {
        Doubles dropped(k);
        for (size_t i = 0; i < k; i++) dropped[i] = x[t * k + i] * keep(range.dropout, t, i);
        for (size_t j = 0; j < rank; j++) {
          double sum = 0;
          for (size_t i = 0; i < k; i++) sum += dropped[i] * a[j * k + i];
          if (h) (*h)[q][t * room + j] = sum;
          for (size_t i = 0; i < static_cast<size_t>(range.to - range.from); i++) {
            y[t * n + static_cast<size_t>(range.from) + i] +=
                scales[q][static_cast<size_t>(adapter)] * sum * b[i * rank + j];
          }
        }
      }
    }
  }
  return y;
}

/// The gradients from their definition, in double, added to what is there.
void reference_backward(const Case &c, const Loras &loras, const Doubles &x, const Doubles &g, const Doubles &h,
                        Doubles &gx, std::vector<Doubles> &ga, std::vector<Doubles> &gb) {
  const size_t k = static_cast<size_t>(c.k), n = static_cast<size_t>(c.n), room = static_cast<size_t>(loras.room),
               from = static_cast<size_t>(loras.range.from), width = static_cast<size_t>(loras.range.to) - from;
  for (const auto &[begin, end, index] : loras.range.runs) {
    const size_t adapter = static_cast<size_t>(index);
    const Adapter &of = *loras.adapters[adapter];
    const Doubles a = doubles(of.a), b = doubles(of.b);
    for (size_t t = static_cast<size_t>(begin); t < static_cast<size_t>(end); t++) {
      Doubles kept(k);
      for (size_t i = 0; i < k; i++) kept[i] = keep(loras.range.dropout, t, i);
      for (size_t j = 0; j < of.rank; j++) {
        double gh = 0;
        for (size_t i = 0; i < width; i++) {
          const double scaled = static_cast<double>(of.scale) * g[t * n + from + i];
          gh += scaled * b[i * of.rank + j];
          gb[adapter][i * of.rank + j] += scaled * h[t * room + j];
        }
        for (size_t i = 0; i < k; i++) {
          gx[t * k + i] += gh * a[j * k + i] * kept[i];
          ga[adapter][j * k + i] += gh * x[t * k + i] * kept[i];
        }
      }
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

/// Forward and backward of a case against the definition. x and gradY are `dtype`, y and gradX `out`. w: the values of
/// `weight`; `rough`: they meet activations of bf16 as bf16 themselves.
void check(const Case &c, int32_t dtype, int32_t out, rl_weight weight, const Floats &w, bool with_bias,
           bool rough = false) {
  const int64_t rows = c.rows, k = c.k, n = c.n;
  const Floats x = random_floats(rows * k, 1, dtype), bias = with_bias ? random_floats(n, 2) : Floats();
  std::vector<std::unique_ptr<Loras>> loras;
  std::vector<rl_lora> raw;
  std::vector<std::vector<std::pair<Doubles, Doubles>>> adapters;
  std::vector<std::vector<double>> scales;
  for (const Range &range : c.ranges) {
    loras.push_back(std::make_unique<Loras>(range, rows, k, 10 + 100 * static_cast<uint32_t>(loras.size())));
    raw.push_back(loras.back()->raw());
    adapters.emplace_back();
    scales.emplace_back();
    for (const auto &a : loras.back()->adapters) {
      adapters.back().emplace_back(doubles(a->a), doubles(a->b));
      scales.back().push_back(static_cast<double>(a->scale));
    }
  }
  const int32_t count = static_cast<int32_t>(raw.size());
  const int32_t exact = rough ? RL_BF16 : out;  // the tolerance
  Tensor tx({rows, k}, x, dtype), ty({rows, n}, Floats(static_cast<size_t>(rows * n), 3.0f), out),
      tb({n}, with_bias ? bias : Floats(static_cast<size_t>(n), 0.0f));
  RL_CHECK(rl_lora_linear(ty, tx, weight, with_bias ? static_cast<const rl_tensor *>(tb) : nullptr, raw.data(), count));
  std::vector<Doubles> h;
  const Doubles want = reference(c, doubles(x), doubles(w), bias, adapters, scales, &h);
  expect_sums(ty.get(), floats(want), exact, "y");
  for (size_t q = 0; q < h.size(); q++) expect_sums(loras[q]->h.get(), floats(h[q]), RL_F32, "h");

  const Floats g = random_floats(rows * n, 3, dtype);
  Tensor tg({rows, n}, g, dtype), tgx({rows, k}, Floats(static_cast<size_t>(rows * k), 5.0f), out);
  Doubles gx(static_cast<size_t>(rows * k));
  for (size_t t = 0; t < static_cast<size_t>(rows); t++) {
    for (size_t i = 0; i < static_cast<size_t>(n); i++) {
      for (size_t j = 0; j < static_cast<size_t>(k); j++) {
        gx[t * static_cast<size_t>(k) + j] += static_cast<double>(g[t * static_cast<size_t>(n) + i]) *
                                              static_cast<double>(w[i * static_cast<size_t>(k) + j]);
      }
    }
  }
  RL_CHECK(rl_lora_linear_backward(tgx, tg, tx, weight, raw.data(), count));
  for (size_t q = 0; q < loras.size(); q++) {
    const Loras &l = *loras[q];
    std::vector<Doubles> ga, gb;
    for (const auto &a : l.adapters) {
      ga.emplace_back(a->a.size(), 1.0);
      gb.emplace_back(a->b.size(), 2.0);
    }
    reference_backward(c, l, doubles(x), doubles(g), h[q], gx, ga, gb);
    for (size_t i = 0; i < l.adapters.size(); i++) {
      const bool frozen = l.is_frozen(static_cast<int>(i));
      expect_sums(l.adapters[i]->tga.get(), frozen ? Floats(ga[i].size(), 1.0f) : floats(ga[i]), RL_F32, "gradA");
      expect_sums(l.adapters[i]->tgb.get(), frozen ? Floats(gb[i].size(), 2.0f) : floats(gb[i]), RL_F32, "gradB");
    }
  }
  expect_sums(tgx.get(), floats(gx), exact, "gradX");

  // Without gradX the adapters' gradients are the same, bit for bit.
  for (const auto &l : loras) {
    for (const auto &a : l->adapters) {
      const Floats before = a->tga.get();
      a->tga.set(Floats(a->a.size(), 1.0f));
      a->tgb.set(Floats(a->b.size(), 2.0f));
      a->first = before;
    }
  }
  RL_CHECK(rl_lora_linear_backward(nullptr, tg, tx, weight, raw.data(), count));
  for (const auto &l : loras) {
    for (const auto &a : l->adapters) EXPECT_EQ(a->tga.get(), a->first);
  }
}

const Case kCases[] = {
    {1, 1, 1, {{0, 1, {1}, {{0, 1, 0}}, drop(0, 0)}}},
    {3, 64, 64, {{0, 64, {8}, {{0, 3, 0}}, drop(0, 0)}}},
    {9, 67, 49, {{0, 49, {4, 3}, {{0, 2, 0}, {4, 9, 1}}, drop(0.3f, 0)}}},
    // q, k, v, each with its own dropout; segments that cross tiles, one of one row, an empty one, one that is frozen.
    {70,
     136,
     104,
     {{0, 65, {8, 16, 5}, {{1, 20, 0}, {20, 20, 1}, {20, 50, 2}, {55, 70, 1}}, drop(0.3f, 0)},
      {65, 80, {1, 16}, {{0, 64, 1}, {64, 65, 0}}, drop(0.1f, 1)},
      {88, 104, {4}, {{0, 70, 0}}, drop(0, 2)}}},
    {130, 96, 72, {{0, 72, {64, 80}, {{0, 60, 0}, {70, 129, 1}}, drop(0.25f, 0)}}},
};

class LoraLinear : public testing::TestWithParam<std::tuple<int, int32_t, int32_t>> {};

TEST_P(LoraLinear, MatchesReference) {
  const auto [index, dtype, out] = GetParam();
  const Case &c = kCases[index];
  const Floats w = random_floats(c.n * c.k, 20, dtype);
  const Tensor tw({c.n, c.k}, w, dtype);
  const WeightHandle weight(tw, index % 2 == 0);
  check(c, dtype, out, weight, w, index % 2 == 1);
}

INSTANTIATE_TEST_SUITE_P(Cases, LoraLinear,
                         testing::Combine(testing::Range(0, 5), testing::Values(RL_F32, RL_BF16),
                                          testing::Values(RL_F32, RL_BF16)));

// Enough columns for the large tiles of bf16: of y forward, of gradX backward.
TEST(LoraLinearLargeTiles, MatchReference) {
  if (std::string(backend()) == "cpu") GTEST_SKIP() << "there are no tiles";
  const Case wide = {
      129, 33, 6049, {{0, 700, {8}, {{3, 129, 0}}, drop(0, 0)}, {700, 6049, {8}, {{0, 127, 0}}, drop(0, 1)}}};
  const Case deep = {
      129, 6049, 24, {{0, 8, {8}, {{3, 129, 0}}, drop(0.3f, 0)}, {8, 24, {4}, {{0, 127, 0}}, drop(0, 1)}}};
  for (const Case &c : {wide, deep}) {
    const Floats w = random_floats(c.n * c.k, 20, RL_BF16);
    const Tensor tw({c.n, c.k}, w, RL_BF16);
    const WeightHandle weight(tw, true);
    check(c, RL_BF16, RL_F32, weight, w, true);
  }
}

/// A matrix in NF4 and its values.
class Four {
 public:
  Four(int64_t n, int64_t k, int32_t dtype)
      : codes_({(n * k + 1) / 2}, RL_U8), absmax_({(n * k + 63) / 64}), values_({n, k}, random_floats(n * k, 20)) {
    rl_nf4 four{};
    four.rows = n, four.cols = k;
    four.codes = codes_.raw();
    four.absmax = absmax_.raw();
    EXPECT_EQ(rl_nf4_quantize(&four, values_), RL_OK) << rl_last_error();
    EXPECT_EQ(rl_nf4_dequantize(values_, &four), RL_OK) << rl_last_error();
    EXPECT_EQ(rl_weight_pack_nf4(&handle_, &four, 1, dtype), RL_OK) << rl_last_error();
  }
  ~Four() { rl_weight_free(handle_); }
  Four(const Four &) = delete;
  Four &operator=(const Four &) = delete;
  rl_weight handle() const { return handle_; }
  Floats values() const { return values_.get(); }

 private:
  Tensor codes_, absmax_, values_;
  rl_weight handle_ = 0;
};

// Where adapters ride along with few rows, or with NF4's codes: ranges and segments that end within 16 columns or 8 rows, ranks
// whose legs have more steps than the contraction has parts, rows past all of them.
std::vector<Range> three_ranges(int64_t rows) {
  const int64_t cut = (rows + 1) / 2;
  return {{0, 65, {8, 16, 5}, {{0, cut, 2}, {cut, cut, 0}, {cut, rows, 1}}, drop(0.3f, 0)},
          {65, 80, {1, 16}, {{0, cut / 2, 1}, {cut / 2, rows, 0}}, drop(0.1f, 1)},
          {88, 104, {4}, {{0, rows, 0}}, drop(0, 2)}};
}
std::vector<Range> one_range(int64_t rows) {
  return {{3, 40, {64, 80}, {{0, rows / 3, 1}, {rows / 3 + 1, rows, 0}}, drop(0.25f, 0)}};
}

TEST(LoraLinearNf4, EveryWayOfTheBase) {
  for (int64_t rows : {1, 4, 8, 13, 31, 70, 97, 400}) {
    const bool many = rows > 300;
    const Case three = {rows, many ? 64 : 192, 104, three_ranges(rows)},
               one = {rows, many ? 64 : 576, 43, one_range(rows)};
    for (const Case &c : {three, one}) {
      if (&c == &one && many) continue;
      for (int32_t dtype : {RL_F32, RL_BF16}) {
        if (dtype == RL_F32 && rows != 13) continue;  // dequantised
        SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(c.k) + " columns");
        const Four four(c.n, c.k, dtype);
        check(c, dtype, rows % 2 == 0 ? dtype : RL_F32, four.handle(), four.values(), rows % 4 == 1, dtype == RL_BF16);
      }
    }
  }
}

// Columns enough for blocks that take all parts of a contraction.
TEST(LoraLinearNf4, ManyColumns) {
  for (int64_t rows : {5, 15, 29, 49}) {
    Case c = {rows, 64, 300, three_ranges(rows)};
    c.ranges.push_back({130, 300, {12}, {{rows / 4, rows, 0}}, drop(0.2f, 3)});
    SCOPED_TRACE(std::to_string(rows) + " rows");
    const Four four(c.n, c.k, RL_BF16);
    check(c, RL_BF16, rows % 4 == 1 ? RL_BF16 : RL_F32, four.handle(), four.values(), rows % 3 == 0, true);
  }
}

TEST(LoraLinearFewRows, MatchReference) {
  for (int64_t rows : {1, 4, 9, 16}) {
    for (const Case &c : {Case{rows, 72, 104, three_ranges(rows)}, Case{rows, 536, 43, one_range(rows)}}) {
      SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(c.k) + " columns");
      const Floats w = random_floats(c.n * c.k, 20, RL_BF16);
      const Tensor tw({c.n, c.k}, w, RL_BF16);
      const WeightHandle weight(tw, true);
      check(c, RL_BF16, rows % 2 == 0 ? RL_BF16 : RL_F32, weight, w, rows % 4 == 1);
    }
  }
}

TEST(LoraLinearGradient, AgreesWithCentralDifferences) {
  const Case c = {4, 6, 5, {{1, 4, {3}, {{1, 4, 0}}, drop(0.25f, 0)}}};
  const Floats x = random_floats(24, 5), w = random_floats(30, 6), g = random_floats(20, 7);
  Loras loras(c.ranges[0], c.rows, c.k, 1);
  Adapter &adapter = *loras.adapters[0];
  const Tensor tw({5, 6}, w);
  const WeightHandle weight(tw, true);
  Tensor tx({4, 6}, x), tg({4, 5}, g), ty({4, 5}), tgx({4, 6});
  adapter.tga.set(Floats(18, 0.0f));
  adapter.tgb.set(Floats(9, 0.0f));
  const rl_lora raw = loras.raw();
  RL_CHECK(rl_lora_linear(ty, tx, weight, nullptr, &raw, 1));
  RL_CHECK(rl_lora_linear_backward(tgx, tg, tx, weight, &raw, 1));
  auto loss = [&](const Doubles &vx, const Doubles &va, const Doubles &vb) {
    const Doubles y = reference(c, vx, doubles(w), {}, {{{va, vb}}}, {{static_cast<double>(adapter.scale)}}, nullptr);
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

TEST(LoraLinearRows, MayBeStrided) {
  const int64_t rows = 10, k = 20, n = 24, wide = 90;
  for (int32_t dtype : {RL_F32, RL_BF16}) {
    const Case c = {rows, k, n, {{3, 24, {4}, {{0, rows, 0}}, drop(0, 0)}}};
    const Floats x = random_floats(rows * wide, 2, dtype), y = random_floats(rows * wide, 3, dtype),
                 w = random_floats(n * k, 4, dtype);
    Loras loras(c.ranges[0], rows, k, 1);
    const Adapter &adapter = *loras.adapters[0];
    const Tensor tw({n, k}, w, dtype);
    const WeightHandle weight(tw, true);
    Tensor tx({rows, wide}, x, dtype), ty({rows, wide}, y, dtype);
    const rl_tensor px = columns(tx, 7, {rows, k}), py = columns(ty, 31, {rows, n});
    const rl_lora raw = loras.raw();
    RL_CHECK(rl_lora_linear(&py, &px, weight, nullptr, &raw, 1));
    const Doubles part =
        reference(c, doubles(slice(x, wide, 7, k)), doubles(w), {}, {{{doubles(adapter.a), doubles(adapter.b)}}},
                  {{static_cast<double>(adapter.scale)}}, nullptr);
    Floats want = y;
    for (size_t i = 0; i < part.size(); i++) want[i / 24 * 90 + 31 + i % 24] = static_cast<float>(part[i]);
    expect_sums(ty.get(), want, dtype, "y");
  }
}

// The ratio of PPO starts at exactly 1 because they do not.
TEST(LoraLinearRows, DoNotDependOnTheirNeighbours) {
  if (std::string(backend()) == "cpu") GTEST_SKIP() << "a promise of the GPU's kernels";
  const int64_t k = 96, n = 72, few = 20, many = 150;
  for (int32_t dtype : {RL_F32, RL_BF16}) {
    const Floats w = random_floats(n * k, 4, dtype), x = random_floats(many * k, 5, dtype);
    const Tensor tw({n, k}, w, dtype);
    const WeightHandle weight(tw, true);
    // Rows 70 .. 89 of many, once alone and once between others.
    auto rows_of = [&](const Floats &values, int64_t width, int64_t from) {
      return Floats(values.begin() + from * width, values.begin() + (from + few) * width);
    };
    auto run = [&](const Floats &in, const std::vector<std::tuple<int64_t, int64_t, int>> &runs, Floats &h) {
      const int64_t rows = static_cast<int64_t>(in.size()) / k;
      const Case c = {rows, k, n, {{8, 64, {8, 20}, runs, drop(0, 0)}}};
      Loras loras(c.ranges[0], rows, k, 1);
      Tensor tx({rows, k}, in, dtype), ty({rows, n}, dtype);
      const rl_lora raw = loras.raw();
      EXPECT_EQ(rl_lora_linear(ty, tx, weight, nullptr, &raw, 1), RL_OK) << rl_last_error();
      h = loras.h.get();
      return ty.get();
    };
    Floats h_alone, h_among;
    const Floats alone = run(rows_of(x, k, 70), {{0, 5, 0}, {5, 20, 1}}, h_alone);
    const Floats among = run(x, {{3, 75, 0}, {75, 130, 1}, {130, 150, 0}}, h_among);
    EXPECT_EQ(rows_of(among, n, 70), alone);
    const Floats part = rows_of(h_among, 21, 70);
    for (size_t t = 0; t < static_cast<size_t>(few); t++) {
      for (size_t j = 0; j < (t < 5 ? 8u : 20u); j++) EXPECT_EQ(part[t * 21 + j], h_alone[t * 21 + j]);
    }
  }
}

// Over NF4's codes that holds for any number of rows up to where the matrix is dequantised, whichever kernel takes them; likewise
// for few rows of another matrix.
class LoraLinearColumns : public testing::TestWithParam<int64_t> {};

TEST_P(LoraLinearColumns, RowsDoNotDependOnTheKernelThatTakesThem) {
  if (std::string(backend()) == "cpu") GTEST_SKIP() << "a promise of the GPU's kernels";
  const int64_t k = 192, n = GetParam();
  const Four four(n, k, RL_BF16);
  const Tensor tw({n, k}, random_floats(n * k, 4, RL_BF16), RL_BF16);
  const WeightHandle dense(tw, true);
  struct Batch {
    int64_t rows, before;  // rows before those that are compared, of which the third begins another segment
  };
  const int64_t compared = 6;
  const Floats some = random_floats(compared * k, 5, RL_BF16), some_g = random_floats(compared * n, 6, RL_BF16);
  struct Result {
    Floats y, h, gradX;
  };
  auto run = [&](rl_weight weight, const Batch &batch, bool backward) {
    Floats x = random_floats(batch.rows * k, 7, RL_BF16), g = random_floats(batch.rows * n, 8, RL_BF16);
    std::copy(some.begin(), some.end(), x.begin() + batch.before * k);
    std::copy(some_g.begin(), some_g.end(), g.begin() + batch.before * n);
    const Range range = {
        8, n - 11, {64, 20}, {{0, batch.before + 2, 0}, {batch.before + 2, batch.rows, 1}}, drop(0, 0)};
    Loras loras(range, batch.rows, k, 1);
    Tensor tx({batch.rows, k}, x, RL_BF16), tg({batch.rows, n}, g, RL_BF16), ty({batch.rows, n}), tgx({batch.rows, k});
    const rl_lora raw = loras.raw();
    EXPECT_EQ(rl_lora_linear(ty, tx, weight, nullptr, &raw, 1), RL_OK) << rl_last_error();
    auto rows_of = [&](const Floats &values, int64_t width) {
      return Floats(values.begin() + batch.before * width, values.begin() + (batch.before + compared) * width);
    };
    Result result{rows_of(ty.get(), n), rows_of(loras.h.get(), loras.room), {}};
    for (size_t t = 0; t < static_cast<size_t>(compared); t++) {  // what lies past a rank is nobody's
      const size_t room = static_cast<size_t>(loras.room), rank = t < 2 ? 64 : 20;
      std::fill(result.h.begin() + static_cast<int64_t>(t * room + rank),
                result.h.begin() + static_cast<int64_t>((t + 1) * room), 0.0f);
    }
    if (backward) {
      EXPECT_EQ(rl_lora_linear_backward(tgx, tg, tx, weight, &raw, 1), RL_OK) << rl_last_error();
      result.gradX = rows_of(tgx.get(), k);
    }
    return result;
  };
  auto expect_same = [&](rl_weight weight, const std::vector<Batch> &batches, bool backward) {
    const Result alone = run(weight, {compared, 0}, backward);
    for (const Batch &batch : batches) {
      SCOPED_TRACE(std::to_string(batch.rows) + " rows");
      const Result among = run(weight, batch, backward);
      EXPECT_EQ(among.y, alone.y);
      EXPECT_EQ(among.h, alone.h);
      EXPECT_EQ(among.gradX, alone.gradX);
    }
  };
  expect_same(four.handle(), {{8, 1}, {11, 5}, {20, 9}, {50, 30}, {96, 90}}, true);
  expect_same(four.handle(), {{150, 61}}, false);
  expect_same(dense, {{8, 1}, {16, 9}}, false);
}

// With more than 8 rows the parts of a contraction go to blocks of their own where columns are few, else to one after the other.
INSTANTIATE_TEST_SUITE_P(Columns, LoraLinearColumns, testing::Values(72, 300));

TEST(LoraLinearErrors, NameOpArgumentExpectedAndFound) {
  Adapter adapter(4, 6, 3, 1.0f, 1);
  const Tensor w({5, 6}, Floats(30, 1.0f));
  const WeightHandle weight(w, true);
  Tensor x({3, 6}, Floats(18, 1.0f)), y({3, 5}, Floats(15, 1.0f)), h({3, 4}), narrow({3, 3}), wrong({3, 7}),
      half({3, 6}, RL_BF16);
  const rl_lora_segment good = adapter.segment(0, 3, true);
  auto lora_of = [&](const rl_lora_segment *s, int32_t count) {
    return rl_lora{1, 4, *static_cast<const rl_tensor *>(h), s, count, 0, {}};
  };
  auto run = [&](const rl_lora_segment &s) {
    const rl_lora lora = lora_of(&s, 1);
    return rl_lora_linear(y, x, weight, nullptr, &lora, 1);
  };
  RL_CHECK(run(good));
  expect_error(run(adapter.segment(0, 4, false)), RL_INVALID_ARGUMENT,
               {"lora_linear", "loras[0].segments[0]", "up to 3", "found 0 to 4"});
  expect_error(run(adapter.segment(2, 1, false)), RL_INVALID_ARGUMENT, {"segments[0]", "found 2 to 1"});
  expect_error(run(adapter.segment(-1, 1, false)), RL_INVALID_ARGUMENT, {"segments[0]", "found -1 to 1"});
  const rl_lora_segment segments[2] = {good, good};
  const rl_lora twice = lora_of(segments, 2);
  expect_error(rl_lora_linear(y, x, weight, nullptr, &twice, 1), RL_INVALID_ARGUMENT, {"segments[1]", "from 3 on"});
  rl_lora_segment bad = good;
  bad.b = adapter.ta.raw();
  expect_error(run(bad), RL_INVALID_ARGUMENT, {"loras[0].segments[0].b: expected shape [3,4], found [4,6]"});
  bad = good;
  bad.a.buffer = 0;
  expect_error(run(bad), RL_INVALID_HANDLE, {"loras[0].segments[0].a", "closed"});
  const Adapter large(513, 6, 3, 1.0f, 1);
  bad.a = *static_cast<const rl_tensor *>(large.ta), bad.b = *static_cast<const rl_tensor *>(large.tb);
  expect_error(run(bad), RL_INVALID_ARGUMENT, {"segments[0].a: expected a rank of at most 512, found 513"});

  const rl_lora lora = lora_of(&good, 1);
  auto with = [&](auto change) {
    rl_lora changed[2] = {lora, lora};
    const int32_t count = change(changed);
    return rl_lora_linear(y, x, weight, nullptr, changed, count);
  };
  expect_error(with([&](rl_lora *l) { return l[0].to = 6, 1; }), RL_INVALID_ARGUMENT,
               {"loras[0]: expected columns from 0 on, ascending, up to 5, found 1 to 6"});
  expect_error(with([&](rl_lora *l) { return l[0].from = 4, 1; }), RL_INVALID_ARGUMENT, {"loras[0]", "found 4 to 4"});
  expect_error(with([&](rl_lora *) { return 2; }), RL_INVALID_ARGUMENT, {"loras[1]", "from 4 on", "found 1 to 4"});
  expect_error(with([&](rl_lora *) { return 9; }), RL_INVALID_ARGUMENT, {"count: expected 0 to 8 loras, found 9"});
  expect_error(with([&](rl_lora *l) { return l[0].count = 1025, 1; }), RL_INVALID_ARGUMENT,
               {"loras[0].count: expected 0 to 1024 segments, found 1025"});
  expect_error(with([&](rl_lora *l) { return l[0].segments = nullptr, 1; }), RL_INVALID_ARGUMENT,
               {"loras[0].segments", "null"});
  expect_error(with([&](rl_lora *l) { return l[0].dropout.p = 1, 1; }), RL_INVALID_ARGUMENT,
               {"loras[0].dropout", "found 1"});
  expect_error(with([&](rl_lora *l) { return l[0].h = narrow.raw(), 1; }), RL_INVALID_ARGUMENT,
               {"loras[0].h: expected at least 4 columns", "found 3"});
  expect_error(rl_lora_linear(y, x, weight, nullptr, nullptr, 1), RL_INVALID_ARGUMENT, {"loras", "null"});
  expect_error(rl_lora_linear(y, half, weight, nullptr, &lora, 1), RL_INVALID_ARGUMENT,
               {"x: expected weight's dtype f32, found bf16"});
  bad = good;
  bad.gradB.buffer = 0;
  const rl_lora partly = lora_of(&bad, 1);
  expect_error(rl_lora_linear_backward(nullptr, y, x, weight, &partly, 1), RL_INVALID_ARGUMENT,
               {"lora_linear_backward", "both gradA and gradB"});
  expect_error(rl_lora_linear_backward(wrong, y, x, weight, &lora, 1), RL_INVALID_ARGUMENT,
               {"gradX: expected shape [3,6], found [3,7]"});
  expect_error(rl_dropout_apply(y, x, nullptr), RL_INVALID_ARGUMENT,
               {"dropout_apply", "y: expected shape [3,6], found [3,5]"});
  RL_CHECK(rl_lora_linear(y, x, weight, nullptr, nullptr, 0));
  RL_CHECK(rl_lora_linear_backward(nullptr, y, x, weight, nullptr, 0));
}

// Every tensor of every segment is checked, however many there are.
TEST(LoraLinearErrors, OverlapInTheLastOfManySegments) {
  const int64_t rows = 20;
  const Tensor w({5, 6}, Floats(30, 1.0f));
  const WeightHandle weight(w, true);
  Tensor x({rows, 6}, Floats(120, 1.0f)), y({rows, 5}, Floats(100, 1.0f)), h({rows, 4}, Floats(80, 1.0f));
  std::vector<std::unique_ptr<Adapter>> adapters;
  std::vector<rl_lora_segment> segments;
  for (uint32_t i = 0; i < rows; i++) {
    adapters.push_back(std::make_unique<Adapter>(4, 6, 5, 1.0f, i));
    segments.push_back(adapters.back()->segment(i, i + 1, true));
  }
  const rl_lora lora = {0, 5, h.raw(), segments.data(), static_cast<int32_t>(rows), 0, {}};
  RL_CHECK(rl_lora_linear_backward(nullptr, y, x, weight, &lora, 1));
  segments.back().gradA = segments.back().a;
  expect_error(rl_lora_linear_backward(nullptr, y, x, weight, &lora, 1), RL_INVALID_ARGUMENT,
               {"loras[0].segments[19].gradA", "overlaps loras[0].segments[19].a"});
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
