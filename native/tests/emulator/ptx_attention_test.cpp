// Attention's real PTX, forward and backward, made wrong on purpose: each mutant must be found, by a report or by wrong numbers.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "mutant.h"

namespace rl::emulator {
namespace {

// Two blocks of queries, three tiles of keys, a second sequence, a group of two heads; heads of 24 need zeros up to 32.
const std::vector<int32_t> kStarts = {0, 150, 170};
constexpr size_t kTokens = 170, kHeads = 2, kSize = 24;
constexpr float kScale = 0.5f;

using Doubles = std::vector<double>;

/// Attention by its formulae: q, o, gradO, gradQ [T,2,24]; k, v, gradK, gradV [T,1,24]; lse [2,T].
struct Exact {
  std::vector<uint16_t> q, k, v, gradO, rounded;  // rounded: o
  Doubles o, lse, gradQ, gradK, gradV;

  Exact()
      : q(random(kHeads, 1)),
        k(random(1, 2)),
        v(random(1, 3)),
        gradO(random(kHeads, 4)),
        rounded(q.size()),
        o(q.size()),
        lse(kHeads * kTokens),
        gradQ(q.size()),
        gradK(k.size()),
        gradV(k.size()) {
    for (size_t b = 0; b + 1 < kStarts.size(); b++) {
      for (size_t i = static_cast<size_t>(kStarts[b]); i < static_cast<size_t>(kStarts[b + 1]); i++) {
        for (size_t h = 0; h < kHeads; h++) query(i, h, static_cast<size_t>(kStarts[b]));
      }
    }
    for (size_t i = 0; i < o.size(); i++) rounded[i] = bf16(static_cast<float>(o[i]));
  }

 private:
  static std::vector<uint16_t> random(size_t heads, size_t seed) {
    std::vector<uint16_t> x(kTokens * heads * kSize);
    for (size_t i = 0; i < x.size(); i++) x[i] = bf16(value(i + seed * 100003));
    return x;
  }
  static double dot(const uint16_t *a, const uint16_t *b) {
    double sum = 0;
    for (size_t e = 0; e < kSize; e++) sum += static_cast<double>(of_bf16(a[e]) * of_bf16(b[e]));
    return sum;
  }
  void query(size_t i, size_t h, size_t first) {
    const size_t at = (i * kHeads + h) * kSize;
    Doubles p(i + 1 - first), gradP(p.size());
    double sum = 0, mean = 0;
    for (size_t j = 0; j < p.size(); j++) sum += p[j] = std::exp(kScale * dot(&q[at], &k[(first + j) * kSize]));
    lse[h * kTokens + i] = std::log(sum);
    for (size_t j = 0; j < p.size(); j++) {
      p[j] /= sum;
      gradP[j] = dot(&gradO[at], &v[(first + j) * kSize]);
      mean += p[j] * gradP[j];
    }
    for (size_t j = 0; j < p.size(); j++) {
      const double gradS = kScale * p[j] * (gradP[j] - mean);
      for (size_t e = 0; e < kSize; e++) {
        const size_t key = (first + j) * kSize + e;
        o[at + e] += p[j] * static_cast<double>(of_bf16(v[key]));
        gradV[key] += p[j] * static_cast<double>(of_bf16(gradO[at + e]));
        gradQ[at + e] += gradS * static_cast<double>(of_bf16(k[key]));
        gradK[key] += gradS * static_cast<double>(of_bf16(q[at + e]));
      }
    }
  }
};
const Exact &exact() {
  static const Exact &x = *new Exact;
  return x;
}

/// Whether a bf16 result is right: within 2 % of the largest, several times what rounding leaves.
bool right(Mutant &mutant, const View &got, const Doubles &want) {
  std::vector<uint16_t> x(want.size());
  mutant.device().copy_to_host(x.data(), got.data, static_cast<int64_t>(x.size() * 2));
  double most = 0;
  for (const double w : want) most = std::max(most, std::fabs(w));
  for (size_t i = 0; i < x.size(); i++) {
    if (!(std::fabs(static_cast<double>(of_bf16(x[i])) - want[i]) <= 0.02 * most)) return false;
  }
  return true;
}

std::string forward(const Mutation &m) {
  const Exact &x = exact();
  Mutant mutant(m, {"attention_bf16_32"});
  const View o = mutant.tensor(RL_BF16, {kTokens, kHeads, kSize}, nullptr),
             lse = mutant.tensor(RL_F32, {kHeads, kTokens}, nullptr);
  mutant.ops().attention(mutant.device(), o, lse, mutant.tensor(RL_BF16, {kTokens, kHeads, kSize}, x.q.data()),
                         mutant.tensor(RL_BF16, {kTokens, 1, kSize}, x.k.data()),
                         mutant.tensor(RL_BF16, {kTokens, 1, kSize}, x.v.data()),
                         mutant.tensor(RL_I32, {static_cast<int64_t>(kStarts.size())}, kStarts.data()), kScale, 0);
  std::vector<float> logs(x.lse.size());
  mutant.device().copy_to_host(logs.data(), lse.data, static_cast<int64_t>(logs.size() * 4));
  bool same = right(mutant, o, x.o);
  for (size_t i = 0; i < logs.size(); i++) same &= std::fabs(static_cast<double>(logs[i]) - x.lse[i]) <= 1e-3;
  return same ? "" : "wrong numbers";
}

/// Twice, so that memory that the second run uses holds what the first left there.
std::string backward(const Mutation &m, bool unordered) {
  const Exact &x = exact();
  using Kernels = std::map<std::string, std::vector<std::string>>;
  Kernels kernels = {
      {"attention_backward.cu",
       {"attention_statistics_bf16", "attention_backward_by_keys_bf16_32", "attention_backward_by_queries_bf16_32"}}};
  if (unordered) {
    kernels = {{"attention_backward.cu", {"attention_statistics_bf16"}},
               {"attention_backward_unordered.cu",
                {"attention_backward_unordered_bf16_32", "attention_backward_round_bf16_32"}},
               {"fill.cu", {"fill_f32"}}};
    setenv("RLHF4J_CUDA_DETERMINISTIC", "0", 1);
  }
  const std::vector<std::string> own = kernels[m.file];
  kernels.erase(m.file);
  Mutant mutant(m, own, kernels);
  unsetenv("RLHF4J_CUDA_DETERMINISTIC");
  const std::vector<int64_t> of_queries = {kTokens, kHeads, kSize}, of_keys = {kTokens, 1, kSize};
  const std::vector<float> logs(x.lse.begin(), x.lse.end());
  const View gradQ = mutant.tensor(RL_BF16, of_queries, nullptr), gradK = mutant.tensor(RL_BF16, of_keys, nullptr),
             gradV = mutant.tensor(RL_BF16, of_keys, nullptr);
  for (int run = 0; run < 2; run++) {
    mutant.device().begin_op();
    mutant.ops().attention_backward(
        mutant.device(), gradQ, gradK, gradV, mutant.tensor(RL_BF16, of_queries, x.gradO.data()),
        mutant.tensor(RL_BF16, of_queries, x.rounded.data()), mutant.tensor(RL_F32, {kHeads, kTokens}, logs.data()),
        mutant.tensor(RL_BF16, of_queries, x.q.data()), mutant.tensor(RL_BF16, of_keys, x.k.data()),
        mutant.tensor(RL_BF16, of_keys, x.v.data()),
        mutant.tensor(RL_I32, {static_cast<int64_t>(kStarts.size())}, kStarts.data()), kScale, 0);
  }
  const bool same = right(mutant, gradQ, x.gradQ) && right(mutant, gradK, x.gradK) && right(mutant, gradV, x.gradV);
  return same ? "" : "wrong numbers";
}

std::string says(const Mutation &m) {
  try {
    if (std::string("attention.cu") == m.file) return forward(m);
    return backward(m, std::string("attention_backward.cu") != m.file);
  } catch (const std::exception &e) {
    return e.what();
  }
}

#define FORWARD "attention.cu", "attention_bf16_32"
#define BY_KEYS "attention_backward.cu", "attention_backward_by_keys_bf16_32"
#define BY_QUERIES "attention_backward.cu", "attention_backward_by_queries_bf16_32"
#define STATISTICS "attention_backward.cu", "attention_statistics_bf16"
#define UNORDERED "attention_backward_unordered.cu", "attention_backward_unordered_bf16_32"
#define ROUND "attention_backward_unordered.cu", "attention_backward_round_bf16_32"

TEST(AttentionKernels, UnchangedOnesAreRight) {
  EXPECT_EQ(says({"", FORWARD, "", "", 0, ""}), "");
  EXPECT_EQ(says({"", BY_KEYS, "", "", 0, ""}), "");
  EXPECT_EQ(says({"", UNORDERED, "", "", 0, ""}), "");
}

class AttentionMutations : public testing::TestWithParam<Mutation> {};

TEST_P(AttentionMutations, AreFound) { expect_found(GetParam(), says(GetParam())); }

INSTANTIATE_TEST_SUITE_P(
    Ptx, AttentionMutations,
    testing::Values(
        Mutation{"lost_trans_of_values", FORWARD, "\\.trans", "", 0, ""},
        Mutation{"trans_of_keys", FORWARD, "m8n8\\.x4\\.shared", "m8n8.x4.trans.shared", 1, ""},
        Mutation{"swapped_a", FORWARD, "(mma[^{]*\\{[^}]*\\}, )\\{(%r\\d+),(%r\\d+),", "$1{$3,$2,", 0, ""},
        Mutation{"swapped_b", FORWARD, "(mma[^{]*\\{[^}]*\\}, \\{[^}]*\\}, )\\{(%r\\d+),(%r\\d+)\\}", "$1{$3,$2}", 0,
                 ""},
        Mutation{"swapped_c", FORWARD, "(mma[^{]*\\{)(%f\\d+),(%f\\d+),", "$1$3,$2,", 0, ""},
        Mutation{"lost_product", FORWARD, "mma[^;]*;", "", 5, ""},
        Mutation{"weaker_wait", FORWARD, "wait_group 0", "wait_group 1", 0, "copy-race"},
        Mutation{"lost_first_commit", FORWARD, "cp\\.async\\.commit_group;", "", 0, "copy-race"},
        Mutation{"lost_commit_of_the_loop", FORWARD, "cp\\.async\\.commit_group;", "", 1, "copy-race"},
        Mutation{"lost_barrier", FORWARD, "bar\\.sync\\s+0;", "", 0, "uninitialised-shared"},
        Mutation{"lost_zero_fill", FORWARD, "(cp\\.async\\.cg[^;]*, 16), %r\\d+;", "$1, 16;", -1, ""},
        Mutation{"all_zero_fill", FORWARD, "(cp\\.async\\.cg[^;]*, 16), %r\\d+;", "$1, 0;", -1, ""},
        Mutation{"matrix_off_by_a_row", FORWARD, "(ldmatrix[^\\[]*\\[%r\\d+)\\]", "$1+80]", 2, ""},
        Mutation{"shuffle_by_another_lane", FORWARD, "(shfl[^;]*, %r\\d+, )%r\\d+(, %r\\d+, %r\\d+;)", "$014$2", 0, ""},
        Mutation{"shuffle_of_half_a_warp", FORWARD, "(shfl[^;]*, )%r\\d+;", "$0165535;", 0, "divergent-warp"},
        Mutation{"powers_of_two_for_e", FORWARD, "0f3FB8AA3B", "0f3F800000", -1, ""},
        Mutation{"lost_rescaling", FORWARD, "vote\\.sync\\.ballot\\.b32\\s+(%r\\d+),[^;]*;", "mov.b32 $1, 0;", 0, ""},
        Mutation{"lost_mask", FORWARD, "selp\\.f32\\s+(%f\\d+), 0fFF800000, (%f\\d+),[^;]*;", "mov.f32 $1, $2;", -1,
                 ""},
        Mutation{"lost_trans_by_keys", BY_KEYS, "\\.trans", "", 0, ""},
        Mutation{"swapped_a_by_keys", BY_KEYS, "(mma[^{]*\\{[^}]*\\}, )\\{(%r\\d+),(%r\\d+),", "$1{$3,$2,", 0, ""},
        Mutation{"weaker_wait_by_keys", BY_KEYS, "wait_group 0", "wait_group 1", 0, "copy-race"},
        Mutation{"lost_barrier_by_keys", BY_KEYS, "bar\\.sync\\s+0;", "", 0, "uninitialised-shared"},
        Mutation{"lost_zero_fill_by_keys", BY_KEYS, "(cp\\.async\\.cg[^;]*, 16), %r\\d+;", "$1, 16;", -1, ""},
        Mutation{"lost_statistics", BY_KEYS, "cp\\.async\\.ca[^;]*;", "", -1, ""},
        Mutation{"powers_of_two_by_keys", BY_KEYS, "0f3FB8AA3B", "0f3F800000", -1, ""},
        Mutation{"lost_trans_by_queries", BY_QUERIES, "\\.trans", "", 0, ""},
        Mutation{"swapped_b_by_queries", BY_QUERIES, "(mma[^{]*\\{[^}]*\\}, \\{[^}]*\\}, )\\{(%r\\d+),(%r\\d+)\\}",
                 "$1{$3,$2}", 0, ""},
        Mutation{"weaker_wait_by_queries", BY_QUERIES, "wait_group 0", "wait_group 1", 0, "copy-race"},
        Mutation{"lost_barrier_by_queries", BY_QUERIES, "bar\\.sync\\s+0;", "", 0, "uninitialised-shared"},
        Mutation{"shuffle_of_the_statistics", STATISTICS, "(shfl[^;]*, %r\\d+, )%r\\d+(, %r\\d+, %r\\d+;)", "$018$2", 0,
                 ""},
        Mutation{"lost_trans_of_staged", UNORDERED, "\\.trans", "", 0, ""},
        Mutation{"lost_trans_of_keys", UNORDERED, "\\.trans", "", 1, ""},
        Mutation{"lost_staged", UNORDERED, "st\\.shared\\.u32[^;]*;", "", 0, "uninitialised-shared"},
        Mutation{"lost_barrier_of_staged", UNORDERED, "bar\\.sync\\s+0;", "", 0, "uninitialised-shared"},
        Mutation{"weaker_wait_unordered", UNORDERED, "wait_group 0", "wait_group 1", 0, "copy-race"},
        Mutation{"store_for_add", UNORDERED, "red\\.global\\.add\\.f32", "st.global.f32", 0, ""},
        Mutation{"lost_add", UNORDERED, "\\bred\\.global[^;]*;", "", 3, ""},
        Mutation{"lost_zeros", "fill.cu", "fill_f32", "st\\.global[^;]*;", "", -1, ""},
        Mutation{"another_sum_rounded", ROUND, "(ld\\.global\\.f32[^;]*\\+)128\\]", "$01256]", 0, ""}),
    [](const auto &info) { return info.param.name; });

}  // namespace
}  // namespace rl::emulator
