#include <algorithm>
#include <numeric>

#include "../src/dispatch/philox.h"
#include "support.h"

namespace rl::test {
namespace {

constexpr rl_sample_config kPlain{1, 0, 1, 0, 1234};

/// How often to draw: the emulator takes its time.
int64_t draws_of(int64_t many) { return std::string(backend()) == "cpu" ? many : many / 10; }

Ints counting(int64_t n, int32_t from = 0) {
  Ints x(static_cast<size_t>(n));
  std::iota(x.begin(), x.end(), from);
  return x;
}

struct Sampled {
  Ints ids;
  Floats logp;
};

/// Row b draws with stream b, step 0.
Sampled sample(const Floats &logits, int64_t rows, const rl_sample_config &c, const Ints *suppress = nullptr,
               const Ints *allow = nullptr, int32_t step = 0) {
  const int64_t n = static_cast<int64_t>(logits.size()) / rows;
  Tensor l({rows, n}, logits), ids({rows}, RL_I32), logp({rows}), streams({rows}, counting(rows)),
      steps({rows}, Ints(static_cast<size_t>(rows), step));
  Tensor s({suppress ? static_cast<int64_t>(suppress->size()) : 0}, suppress ? *suppress : Ints{});
  Tensor a({rows}, allow ? *allow : Ints(static_cast<size_t>(rows), 0));
  EXPECT_EQ(rl_sample(ids, logp, l, streams, steps, suppress ? static_cast<const rl_tensor *>(s) : nullptr,
                      suppress ? static_cast<const rl_tensor *>(a) : nullptr, &c),
            RL_OK)
      << rl_last_error();
  return {ids.get_ints(), logp.get()};
}

/// The same logits for every row.
Floats repeated(const Floats &logits, int64_t rows) {
  Floats all;
  for (int64_t i = 0; i < rows; i++) all.insert(all.end(), logits.begin(), logits.end());
  return all;
}

std::vector<double> softmax(const Floats &logits, double temperature) {
  std::vector<double> p;
  double top = -INFINITY, sum = 0;
  for (float z : logits) top = std::max(top, static_cast<double>(z) / temperature);
  for (float z : logits) sum += std::exp(static_cast<double>(z) / temperature - top);
  for (float z : logits) p.push_back(std::exp(static_cast<double>(z) / temperature - top) / sum);
  return p;
}

/// Pearson's statistic of `rows` draws against p; ids that p forbids must not be drawn. Its expectation is the degrees of
/// freedom, its deviation the root of twice that: six deviations are no accident.
void expect_distribution(const Ints &ids, const std::vector<double> &p) {
  std::vector<double> seen(p.size(), 0);
  for (int32_t id : ids) {
    ASSERT_GE(id, 0);
    ASSERT_LT(static_cast<size_t>(id), p.size());
    ASSERT_GT(p[static_cast<size_t>(id)], 0) << "id " << id << " was cut, and drawn";
    seen[static_cast<size_t>(id)]++;
  }
  double chi = 0, freedom = -1;
  for (size_t i = 0; i < p.size(); i++) {
    if (p[i] == 0) continue;
    const double want = p[i] * static_cast<double>(ids.size());
    chi += (seen[i] - want) * (seen[i] - want) / want;
    freedom++;
  }
  EXPECT_LT(chi, freedom + 6 * std::sqrt(2 * freedom) + 1);
}

std::vector<double> cut_to(std::vector<double> p, const std::vector<size_t> &kept) {
  double sum = 0;
  std::vector<double> q(p.size(), 0);
  for (size_t i : kept) sum += p[i];
  for (size_t i : kept) q[i] = p[i] / sum;
  return q;
}

TEST(Sample, FollowsTheSoftmax) {
  for (int64_t n : {2, 13, 40}) {
    for (float temperature : {0.5f, 1.0f, 2.0f}) {
      const Floats logits = random_floats(n, 7);
      rl_sample_config c = kPlain;
      c.temperature = temperature;
      const Sampled got = sample(repeated(logits, draws_of(20000)), draws_of(20000), c);
      const std::vector<double> p = softmax(logits, static_cast<double>(temperature));
      expect_distribution(got.ids, p);
      for (size_t b = 0; b < 200; b++) {
        EXPECT_NEAR(static_cast<double>(got.logp[b]), std::log(p[static_cast<size_t>(got.ids[b])]), 1e-5);
      }
    }
  }
}

/// What a draw must give: the first id with which the running sum of the weights that are kept exceeds u times the whole.
/// -1 if rounding may decide.
int32_t reference_draw(const Floats &logits, const rl_sample_config &c, uint32_t stream, uint32_t step) {
  const std::vector<double> p = softmax(logits, static_cast<double>(c.temperature));
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  size_t kept = order.size();
  if (c.top_k > 0) {
    kept = std::min(kept, static_cast<size_t>(c.top_k));
    while (kept < order.size() && logits[order[kept]] == logits[order[kept - 1]]) kept++;
  }
  if (c.top_p < 1) {
    double all = 0, mass = 0;
    for (size_t i = 0; i < kept; i++) all += p[order[i]];
    const double wanted = all * static_cast<double>(c.top_p);
    size_t i = 0;
    while (i < kept && mass < wanted) {
      mass += p[order[i++]];
      if (std::abs(mass - wanted) < 1e-6) return -1;
    }
    kept = i;
  }
  order.resize(kept);
  const std::vector<double> q = cut_to(p, order);
  const double u = static_cast<double>(philox_uniform(philox(c.seed, stream, step, 0).word[0]));
  double sum = 0;
  int32_t id = 0;
  for (size_t i = 0; i < q.size(); i++) {
    sum += q[i];
    if (std::abs(sum - u) < 1e-6) return -1;
    if (sum > u) return static_cast<int32_t>(i);
  }
  return id;
}

TEST(Sample, DrawsAreTheCountersOwn) {
  int decided = 0;
  for (int64_t n : {1, 3, 15, 16, 17, 31, 33, 63, 64, 65, 127, 511, 512, 513, 1000, 4099, 20001}) {
    Floats logits = random_floats(n, static_cast<uint32_t>(n), RL_F32, 3);
    for (size_t i = 0; i + 7 < logits.size(); i += 5) logits[i] = logits[i + 7];  // equals
    for (const rl_sample_config &c :
         {rl_sample_config{1, 0, 1, 0, 5}, rl_sample_config{0.7f, 20, 1, 0, 6}, rl_sample_config{1.3f, 0, 0.9f, 0, 7},
          rl_sample_config{2, 100, 0.5f, 0, 8}, rl_sample_config{1, 3000, 0.99f, 0, 9}}) {
      const int64_t rows = n > 4000 ? 3 : 20;
      const Sampled got = sample(repeated(logits, rows), rows, c, nullptr, nullptr, 3);
      const std::vector<double> p = softmax(logits, static_cast<double>(c.temperature));
      for (int64_t b = 0; b < rows; b++) {
        const size_t row = static_cast<size_t>(b), id = static_cast<size_t>(got.ids[row]);
        ASSERT_LT(id, p.size());
        EXPECT_NEAR(static_cast<double>(got.logp[row]), std::log(p[id]), 1e-5);
        const int32_t want = reference_draw(logits, c, static_cast<uint32_t>(b), 3);
        if (want < 0) continue;
        decided++;
        EXPECT_EQ(got.ids[row], want) << n << " logits, row " << b << ", top_k " << c.top_k;
      }
    }
  }
  EXPECT_GT(decided, 1300) << "of 1440 draws most are far from every boundary";
}

TEST(Sample, ATinyTemperatureChoosesTheLargest) {
  // Logits of 1e31 and more: the log-probability must not be lost in the rounding of what was divided.
  const Floats logits = {1, 40, 3};
  for (float temperature : {1e-3f, 1e-10f, 1e-30f}) {
    const Sampled got = sample(logits, 1, {temperature, 0, 1, 0, 1234});
    EXPECT_EQ(got.ids, Ints{1});
    EXPECT_EQ(got.logp, Floats{0});
  }
}

TEST(Sample, StepsAreIndependentDrawsToo) {
  const Floats logits = {0, 1, 0.5f, -1};
  Ints ids;
  for (int32_t step = 0; step < draws_of(3000); step++)
    ids.push_back(sample(logits, 1, kPlain, nullptr, nullptr, step).ids[0]);
  expect_distribution(ids, softmax(logits, 1));
}

TEST(Sample, DependsOnSeedStreamAndStepOnly) {
  const int64_t n = 5000;
  const Floats logits = random_floats(n, 3), other = random_floats(n, 4);
  const Sampled alone = sample(logits, 1, kPlain);
  Floats batch = logits;
  for (int i = 0; i < 7; i++) batch.insert(batch.end(), other.begin(), other.end());
  const Sampled among = sample(batch, 8, kPlain);
  EXPECT_EQ(among.ids[0], alone.ids[0]) << "other rows changed the draw";
  EXPECT_EQ(among.logp[0], alone.logp[0]);
  EXPECT_EQ(sample(batch, 8, kPlain).ids, among.ids);
  rl_sample_config c = kPlain;
  c.seed ^= uint64_t{1} << 40;
  EXPECT_NE(sample(batch, 8, c).ids, among.ids) << "the seed's upper half was lost";
  EXPECT_NE(sample(batch, 8, kPlain, nullptr, nullptr, 1).ids, among.ids);
  EXPECT_NE(std::count(among.ids.begin() + 1, among.ids.end(), among.ids[1]), 7) << "streams were lost";
}

TEST(Sample, LogpDoesNotChangeTheDrawAndMayBeLeftOut) {
  Tensor l({4, 100}, random_floats(400, 1)), ids({4}, RL_I32), other({4}, RL_I32), logp({4}), streams({4}, counting(4)),
      steps({4}, Ints(4, 9));
  RL_CHECK(rl_sample(ids, logp, l, streams, steps, nullptr, nullptr, &kPlain));
  RL_CHECK(rl_sample(other, nullptr, l, streams, steps, nullptr, nullptr, &kPlain));
  EXPECT_EQ(ids.get_ints(), other.get_ints());
}

TEST(Sample, StridedLogits) {
  const Floats wide = random_floats(4 * 71, 1);
  for (int64_t from : {0, 9, 18}) {
    Tensor l({4, 71}, wide), dense({4, 50}, slice(wide, 71, from, 50)), a({4}, RL_I32), b({4}, RL_I32),
        streams({4}, counting(4)), steps({4}, Ints(4, 9));
    const rl_tensor view = columns(l, from, {4, 50});
    RL_CHECK(rl_sample(a, nullptr, &view, streams, steps, nullptr, nullptr, &kPlain));
    RL_CHECK(rl_sample(b, nullptr, dense, streams, steps, nullptr, nullptr, &kPlain));
    EXPECT_EQ(a.get_ints(), b.get_ints());
  }
}

TEST(SampleGreedy, TakesTheLowestIdAmongEquals) {
  rl_sample_config c = kPlain;
  c.temperature = 0;
  const Floats logits = {1,         7,         7,  -1,  //
                         3,         3,         3,  3,   //
                         -5,        -6,        -7, -4,  //
                         -0.0f,     0,         0,  -1,  //
                         -INFINITY, -INFINITY, 2,  -INFINITY};
  const Sampled got = sample(logits, 5, c);
  EXPECT_EQ(got.ids, (Ints{1, 0, 3, 0, 2}));
  const std::vector<double> p = softmax({1, 7, 7, -1}, 1);  // greedy: log-probabilities are those of temperature 1
  EXPECT_NEAR(static_cast<double>(got.logp[0]), std::log(p[1]), 1e-6);
  EXPECT_NEAR(static_cast<double>(got.logp[4]), 0, 1e-6);
  Floats large = random_floats(49152 * 3, 5);
  const Sampled many = sample(large, 3, c);
  for (size_t b = 0; b < 3; b++) {
    const auto begin = large.begin() + static_cast<std::ptrdiff_t>(b * 49152);
    EXPECT_EQ(many.ids[b], std::max_element(begin, begin + 49152) - begin);
  }
}

TEST(SampleTopK, KeepsTheLargestAndTheirTies) {
  const Floats logits = {0.1f, 2, 1, 2, 0, 1, -3, 1.5f};
  const std::vector<double> p = softmax(logits, 1);
  rl_sample_config c = kPlain;
  auto draws = [&] { return sample(repeated(logits, draws_of(8000)), draws_of(8000), c).ids; };
  c.top_k = 1;
  expect_distribution(draws(), cut_to(p, {1, 3}));
  c.top_k = 2;
  expect_distribution(draws(), cut_to(p, {1, 3}));
  c.top_k = 3;
  expect_distribution(draws(), cut_to(p, {1, 3, 7}));
  c.top_k = 4;
  expect_distribution(draws(), cut_to(p, {1, 2, 3, 5, 7}));
  for (int32_t k : {0, 8, 9, INT32_MAX}) {
    c.top_k = k;
    expect_distribution(draws(), p);
  }
}

TEST(SampleTopK, ZerosOfBothSignsAreEqual) {
  rl_sample_config c = kPlain;
  c.top_k = 1;
  const Floats logits = {-0.0f, 0.0f, -1, -2};
  expect_distribution(sample(repeated(logits, draws_of(4000)), draws_of(4000), c).ids, {0.5, 0.5, 0, 0});
}

TEST(SampleTopK, NegativeAndLargeVocabularies) {
  const int64_t n = 49152;
  Floats logits = random_floats(n, 9);
  for (float &v : logits) v -= 20;
  for (size_t i : {100, 40000, 49151}) logits[i] = -10 + static_cast<float>(i) * 1e-6f;
  rl_sample_config c = kPlain;
  c.top_k = 3;
  std::vector<double> p = cut_to(softmax(logits, 1), {100, 40000, 49151});
  Ints ids;
  for (int32_t step = 0; step < draws_of(600); step++)
    ids.push_back(sample(logits, 1, c, nullptr, nullptr, step).ids[0]);
  expect_distribution(ids, p);
}

TEST(SampleTopP, KeepsTheSmallestSetWithTheMass) {
  // Probabilities 0.4, 0.3, 0.2, 0.1, out of order.
  const Floats logits = {std::log(0.2f), std::log(0.4f), std::log(0.1f), std::log(0.3f)};
  const std::vector<double> p = softmax(logits, 1);
  rl_sample_config c = kPlain;
  auto draws = [&] { return sample(repeated(logits, draws_of(8000)), draws_of(8000), c).ids; };
  for (float top_p : {1e-10f, 0.1f, 0.39f}) {
    c.top_p = top_p;
    expect_distribution(draws(), {0, 1, 0, 0});
  }
  for (float top_p : {0.41f, 0.69f}) {
    c.top_p = top_p;
    expect_distribution(draws(), cut_to(p, {1, 3}));
  }
  c.top_p = 0.8f;
  expect_distribution(draws(), cut_to(p, {0, 1, 3}));
  for (float top_p : {0.91f, 0.9999999f, 1.0f}) {
    c.top_p = top_p;
    expect_distribution(draws(), p);
  }
}

TEST(SampleTopP, OfEqualsAsFewAsTheMassNeeds) {
  rl_sample_config c = kPlain;
  c.top_p = 0.45f;
  const Floats logits(10, 2.0f);  // five of ten have mass 0.5: the lowest ids
  std::vector<double> p(10, 0);
  for (size_t i = 0; i < 5; i++) p[i] = 0.2;
  expect_distribution(sample(repeated(logits, draws_of(4000)), draws_of(4000), c).ids, p);
}

TEST(SampleTopP, MatchesASortOnRandomLogits) {
  const int64_t n = 300;
  const Floats logits = random_floats(n, 21, RL_F32, 2);
  for (float temperature : {0.7f, 1.0f, 1.5f}) {
    for (float top_p : {0.3f, 0.9f}) {
      for (int32_t top_k : {0, 20}) {
        // As transformers' warpers: temperature, top-k, then top-p of what is left.
        std::vector<double> p = softmax(logits, static_cast<double>(temperature));
        std::vector<size_t> order(p.size());
        std::iota(order.begin(), order.end(), 0);
        std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });
        if (top_k) order.resize(static_cast<size_t>(top_k));
        p = cut_to(p, order);
        std::vector<size_t> kept;
        double mass = 0;
        for (size_t i = 0; i < order.size() && mass < static_cast<double>(top_p); i++) {
          kept.push_back(order[i]);
          mass += p[order[i]];
        }
        const rl_sample_config c{temperature, top_k, top_p, 0, 99};
        const Sampled got = sample(repeated(logits, draws_of(3000)), draws_of(3000), c);
        const std::vector<double> q = cut_to(p, kept), uncut = softmax(logits, static_cast<double>(temperature));
        expect_distribution(got.ids, q);
        for (size_t b = 0; b < 50; b++) {
          EXPECT_NEAR(static_cast<double>(got.logp[b]), std::log(uncut[static_cast<size_t>(got.ids[b])]), 1e-4);
        }
      }
    }
  }
}

TEST(SampleSuppress, RowsThatMayNotDoNot) {
  const Floats logits = {0, 5, 1, 4};
  const Ints suppress = {1, 3};
  Ints allow(static_cast<size_t>(draws_of(4000)));
  for (size_t b = 0; b < allow.size(); b++) allow[b] = b % 2 ? static_cast<int32_t>(b) : 0;
  const Sampled got = sample(repeated(logits, draws_of(4000)), draws_of(4000), kPlain, &suppress, &allow);
  Ints free, bound;
  for (size_t b = 0; b < allow.size(); b++) (allow[b] ? free : bound).push_back(got.ids[b]);
  const std::vector<double> p = softmax(logits, 1);
  expect_distribution(free, p);
  expect_distribution(bound, cut_to(p, {0, 2}));
  for (size_t b = 0; b < 100; b++) {  // the log-probability is the uncut one, suppressed or not
    EXPECT_NEAR(static_cast<double>(got.logp[b]), std::log(p[static_cast<size_t>(got.ids[b])]), 1e-5);
  }
  rl_sample_config greedy = kPlain;
  greedy.temperature = 0;
  const Ints two = {0, 1};
  EXPECT_EQ(sample(repeated(logits, 2), 2, greedy, &suppress, &two).ids, (Ints{2, 1}));
  // More places than candidates.
  rl_sample_config top = kPlain;
  top.top_k = 3;
  top.top_p = 0.99f;
  for (int32_t id : sample(repeated(logits, 500), 500, top, &suppress).ids) EXPECT_TRUE(id == 0 || id == 2) << id;
  const Ints nothing;
  expect_distribution(sample(repeated(logits, draws_of(4000)), draws_of(4000), kPlain, &nothing).ids, p);
}

TEST(SampleErrors, RowsWithNothingToChooseFrom) {
  const float inf = INFINITY;
  const Ints all = {0, 1, 2};
  for (float temperature : {0.0f, 1.0f}) {
    rl_sample_config c = kPlain;
    c.temperature = temperature;
    for (const Floats &bad : {Floats{1, NAN, 2}, Floats{-inf, -inf, -inf}, Floats{1, inf, 2}, Floats{inf, inf, -inf},
                              Floats{NAN, NAN, NAN}}) {
      Floats logits = {1, 2, 3};
      logits.insert(logits.end(), bad.begin(), bad.end());
      Tensor l({2, 3}, logits), ids({2}, RL_I32), logp({2}), i({2}, Ints{0, 1});
      expect_error(rl_sample(ids, logp, l, i, i, nullptr, nullptr, &c), RL_INVALID_ARGUMENT,
                   {"sample", "logits", "row 1"});
    }
    Tensor l({2, 3}, Floats(6, 1.0f)), ids({2}, RL_I32), i({2}, Ints{0, 1}), s({3}, all), a({2}, Ints{1, 0});
    expect_error(rl_sample(ids, nullptr, l, i, i, s, a, &c), RL_INVALID_ARGUMENT,
                 {"logits", "row 1", "nothing to choose from"});
  }
}

TEST(SampleErrors, AFailedCallLeavesItsOutputsAsTheyWere) {
  Tensor l({3, 3}, Floats{1, 2, 3, 1, NAN, 3, 1, 2, 3}), ids({3}, Ints{7, 8, 9}), logp({3}, Floats{7, 8, 9}),
      i({3}, Ints{0, 1, 2});
  expect_error(rl_sample(ids, logp, l, i, i, nullptr, nullptr, &kPlain), RL_INVALID_ARGUMENT, {"row 1"});
  EXPECT_EQ(ids.get_ints(), (Ints{7, 8, 9}));
  EXPECT_EQ(logp.get(), (Floats{7, 8, 9}));
  // An infinity has no softmax, be it of an id that cannot be chosen.
  Tensor infinite({1, 3}, Floats{1, INFINITY, 2}), one({1}, Ints{1}), none({1}, Ints{0}), id({1}, Ints{7});
  expect_error(rl_sample(id, nullptr, infinite, one, one, one, none, &kPlain), RL_INVALID_ARGUMENT, {"row 0"});
  EXPECT_EQ(id.get_ints(), Ints{7});
}

TEST(SampleErrors, NamesWhatIsWrong) {
  Tensor l({2, 5}, Floats(10, 1.0f)), ids({2}, RL_I32), logp({2}), i({2}, Ints{0, 1}), three({3}, Ints{0, 1, 2}),
      real({2}), half({2, 5}, RL_BF16);
  rl_sample_config bad = kPlain;
  expect_error(rl_sample(ids, logp, l, i, i, nullptr, nullptr, nullptr), RL_INVALID_ARGUMENT,
               {"sample", "config", "null"});
  for (int32_t id : {-1, 5, INT32_MAX, INT32_MIN}) {
    Tensor s({2}, Ints{1, id});
    expect_error(rl_sample(ids, logp, l, i, i, s, i, &bad), RL_INVALID_ARGUMENT,
                 {"suppress[1] is " + std::to_string(id), "expected 0 to 4"});
  }
  expect_error(rl_sample(ids, logp, l, i, i, three, nullptr, &bad), RL_INVALID_ARGUMENT, {"allow", "null"});
  expect_error(rl_sample(ids, logp, l, i, i, three, three, &bad), RL_INVALID_ARGUMENT,
               {"allow", "expected shape [2]", "found [3]"});
  expect_error(rl_sample(ids, logp, half, i, i, nullptr, nullptr, &bad), RL_INVALID_ARGUMENT,
               {"logits", "expected dtype f32", "found bf16"});
  expect_error(rl_sample(real, logp, l, i, i, nullptr, nullptr, &bad), RL_INVALID_ARGUMENT,
               {"ids", "expected dtype i32", "found f32"});
  expect_error(rl_sample(nullptr, logp, l, i, i, nullptr, nullptr, &bad), RL_INVALID_ARGUMENT, {"ids", "null"});
  expect_error(rl_sample(ids, logp, l, three, i, nullptr, nullptr, &bad), RL_INVALID_ARGUMENT,
               {"streams", "found [3]"});
  expect_error(rl_sample(ids, logp, l, i, real, nullptr, nullptr, &bad), RL_INVALID_ARGUMENT, {"steps", "found f32"});
  expect_error(rl_sample(i, logp, l, i, i, nullptr, nullptr, &bad), RL_INVALID_ARGUMENT, {"ids", "overlaps"});
  for (float t : {-1.0f, static_cast<float>(NAN)}) {
    bad.temperature = t;
    expect_error(rl_sample(ids, logp, l, i, i, nullptr, nullptr, &bad), RL_INVALID_ARGUMENT, {"config.temperature"});
  }
  bad = kPlain;
  for (float p : {0.0f, -1.0f, 1.5f, static_cast<float>(NAN)}) {
    bad.top_p = p;
    expect_error(rl_sample(ids, logp, l, i, i, nullptr, nullptr, &bad), RL_INVALID_ARGUMENT, {"config.top_p"});
  }
  bad = kPlain;
  bad.top_k = -1;
  expect_error(rl_sample(ids, logp, l, i, i, nullptr, nullptr, &bad), RL_INVALID_ARGUMENT, {"config.top_k", "-1"});
}

}  // namespace
}  // namespace rl::test
