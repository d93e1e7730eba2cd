// Attention's real PTX, forward and backward, made wrong on purpose: each mutant must be found, by a report or by wrong numbers.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "mutant.h"

namespace rl::emulator {
namespace {

// Two blocks of queries, three tiles of keys, a second sequence, a group of two heads; heads of 24 need zeros up to 32 (f16: 64).
const std::vector<int32_t> kStarts = {0, 150, 170};
constexpr size_t kTokens = 170, kHeads = 2, kSize = 24;
constexpr float kScale = 0.5f;

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

/// Attention by its formulae: q, o, gradO, gradQ [T,2,24]; k, v, gradK, gradV [T,1,24]; lse [2,T].
struct Exact {
  Floats q, k, v, gradO;
  Doubles o, lse, gradQ, gradK, gradV;

  Exact()
      : q(random(kHeads, 1)),
        k(random(1, 2)),
        v(random(1, 3)),
        gradO(random(kHeads, 4)),
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
  }

 private:
  static Floats random(size_t heads, size_t seed) {
    Floats x(kTokens * heads * kSize);
    for (size_t i = 0; i < x.size(); i++) x[i] = value(i + seed * 100003);
    return x;
  }
  static double dot(const float *a, const float *b) {
    double sum = 0;
    for (size_t e = 0; e < kSize; e++) sum += static_cast<double>(a[e] * b[e]);
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
        o[at + e] += p[j] * static_cast<double>(v[key]);
        gradV[key] += p[j] * static_cast<double>(gradO[at + e]);
        gradQ[at + e] += gradS * static_cast<double>(k[key]);
        gradK[key] += gradS * static_cast<double>(q[at + e]);
      }
    }
  }
};
const Exact &exact() {
  static const Exact &x = *new Exact;
  return x;
}

/// What a mutation's kernel is for.
int32_t dtype_of(const Mutation &m) { return std::strstr(m.entry, "_f16") ? RL_F16 : RL_BF16; }

/// A tensor of that dtype, with room for results or with values.
template <class T = float>
View tensor(Mutant &mutant, int32_t dtype, const std::vector<int64_t> &shape, const std::vector<T> &values = {}) {
  std::vector<uint16_t> x;
  for (const T value : values) x.push_back((dtype == RL_BF16 ? bf16 : f16)(static_cast<float>(value)));
  return mutant.tensor(dtype, shape, x.empty() ? nullptr : x.data());
}

/// Whether a result is right: within 2 % of the largest, f16 within an eighth of that, several times what rounding leaves.
bool right(Mutant &mutant, const View &got, const Doubles &want) {
  std::vector<uint16_t> x(want.size());
  mutant.device().copy_to_host(x.data(), got.data, static_cast<int64_t>(x.size() * 2));
  double most = 0;
  for (const double w : want) most = std::max(most, std::fabs(w));
  for (size_t i = 0; i < x.size(); i++) {
    const double number = static_cast<double>((got.dtype == RL_BF16 ? of_bf16 : of_f16)(x[i]));
    if (!(std::fabs(number - want[i]) <= (got.dtype == RL_BF16 ? 0.02 : 0.0025) * most)) return false;
  }
  return true;
}

const std::vector<int64_t> kOfQueries = {kTokens, kHeads, kSize}, kOfKeys = {kTokens, 1, kSize};

std::string forward(const Mutation &m) {
  const Exact &x = exact();
  const int32_t dtype = dtype_of(m);
  Mutant mutant(m, {m.entry});
  const View o = tensor(mutant, dtype, kOfQueries), lse = mutant.tensor(RL_F32, {kHeads, kTokens}, nullptr);
  mutant.ops().attention(mutant.device(), o, lse, tensor(mutant, dtype, kOfQueries, x.q),
                         tensor(mutant, dtype, kOfKeys, x.k), tensor(mutant, dtype, kOfKeys, x.v),
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
  const int32_t dtype = dtype_of(m);
  const std::string type = dtype == RL_F16 ? "f16" : "bf16", instance = type + (dtype == RL_F16 ? "_64" : "_32");
  Kernels kernels = {{"attention_backward.cu",
                      {"attention_statistics_" + type, "attention_backward_by_keys_" + instance,
                       "attention_backward_by_queries_" + instance}}};
  if (unordered) {
    kernels = {{"attention_backward.cu", {"attention_statistics_" + type}},
               {"attention_backward_unordered.cu",
                {"attention_backward_unordered_" + instance, "attention_backward_round_" + instance}},
               {"fill.cu", {"fill_f32"}}};
    setenv("RLHF4J_CUDA_DETERMINISTIC", "0", 1);
  }
  const std::vector<std::string> own = kernels[m.file];
  kernels.erase(m.file);
  Mutant mutant(m, own, kernels);
  unsetenv("RLHF4J_CUDA_DETERMINISTIC");
  const Floats logs(x.lse.begin(), x.lse.end());
  const View gradQ = tensor(mutant, dtype, kOfQueries), gradK = tensor(mutant, dtype, kOfKeys),
             gradV = tensor(mutant, dtype, kOfKeys);
  for (int run = 0; run < 2; run++) {
    mutant.device().begin_op();
    mutant.ops().attention_backward(
        mutant.device(), gradQ, gradK, gradV, tensor(mutant, dtype, kOfQueries, x.gradO),
        tensor(mutant, dtype, kOfQueries, x.o), mutant.tensor(RL_F32, {kHeads, kTokens}, logs.data()),
        tensor(mutant, dtype, kOfQueries, x.q), tensor(mutant, dtype, kOfKeys, x.k),
        tensor(mutant, dtype, kOfKeys, x.v),
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
#define FORWARD_F16 "attention.cu", "attention_f16_64"
#define BY_KEYS_F16 "attention_backward.cu", "attention_backward_by_keys_f16_64"
#define BY_QUERIES_F16 "attention_backward.cu", "attention_backward_by_queries_f16_64"
#define UNORDERED "attention_backward_unordered.cu", "attention_backward_unordered_bf16_32"
#define ROUND "attention_backward_unordered.cu", "attention_backward_round_bf16_32"

TEST(AttentionKernels, UnchangedOnesAreRight) {
  EXPECT_EQ(says({"", FORWARD, "", "", 0, ""}), "");
  EXPECT_EQ(says({"", BY_KEYS, "", "", 0, ""}), "");
  EXPECT_EQ(says({"", FORWARD_F16, "", "", 0, ""}), "");
  EXPECT_EQ(says({"", BY_KEYS_F16, "", "", 0, ""}), "");
  EXPECT_EQ(says({"", UNORDERED, "", "", 0, ""}), "");
}

class AttentionMutations : public testing::TestWithParam<Mutation> {};

TEST_P(AttentionMutations, AreFound) { expect_found(GetParam(), says(GetParam())); }

INSTANTIATE_TEST_SUITE_P(
    Ptx, AttentionMutations,
    testing::Values(
        Mutation{"lost_trans_of_values", FORWARD, LOST_TRANS, 0, ""},
        Mutation{"trans_of_keys", FORWARD, "m8n8\\.x4\\.shared", "m8n8.x4.trans.shared", 1, ""},
        Mutation{"swapped_a", FORWARD, SWAPPED_A, 0, ""}, Mutation{"swapped_b", FORWARD, SWAPPED_B, 0, ""},
        Mutation{"swapped_c", FORWARD, SWAPPED_C, 0, ""}, Mutation{"lost_product", FORWARD, LOST_PRODUCT, 5, ""},
        Mutation{"weaker_wait", FORWARD, "wait_group 0", "wait_group 1", 0, "copy-race"},
        Mutation{"lost_first_commit", FORWARD, LOST_COMMIT, 0, "copy-race"},
        Mutation{"lost_commit_of_the_loop", FORWARD, LOST_COMMIT, 1, "copy-race"},
        Mutation{"lost_barrier", FORWARD, LOST_BARRIER, 0, "uninitialised-shared"},
        Mutation{"lost_zero_fill", FORWARD, NO_ZERO_FILL, -1, ""},
        Mutation{"all_zero_fill", FORWARD, ALL_ZERO_FILL, -1, ""},
        Mutation{"matrix_off_by_a_row", FORWARD, "(ldmatrix[^\\[]*\\[%r\\d+)\\]", "$1+80]", 2, ""},
        Mutation{"shuffle_by_another_lane", FORWARD, "(shfl[^;]*, %r\\d+, )%r\\d+(, %r\\d+, %r\\d+;)", "$014$2", 0, ""},
        Mutation{"shuffle_of_half_a_warp", FORWARD, "(shfl[^;]*, )%r\\d+;", "$0165535;", 0, "divergent-warp"},
        Mutation{"powers_of_two_for_e", FORWARD, "0f3FB8AA3B", "0f3F800000", -1, ""},
        Mutation{"lost_rescaling", FORWARD, "vote\\.sync\\.ballot\\.b32\\s+(%r\\d+),[^;]*;", "mov.b32 $1, 0;", 0, ""},
        Mutation{"lost_mask", FORWARD, "selp\\.f32\\s+(%f\\d+), 0fFF800000, (%f\\d+),[^;]*;", "mov.f32 $1, $2;", -1,
                 ""},
        Mutation{"lost_trans_by_keys", BY_KEYS, LOST_TRANS, 0, ""},
        Mutation{"swapped_a_by_keys", BY_KEYS, SWAPPED_A, 0, ""},
        Mutation{"weaker_wait_by_keys", BY_KEYS, "wait_group 0", "wait_group 1", 0, "copy-race"},
        Mutation{"lost_barrier_by_keys", BY_KEYS, LOST_BARRIER, 0, "uninitialised-shared"},
        Mutation{"lost_zero_fill_by_keys", BY_KEYS, NO_ZERO_FILL, -1, ""},
        Mutation{"lost_statistics", BY_KEYS, "cp\\.async\\.ca[^;]*;", "", -1, ""},
        Mutation{"powers_of_two_by_keys", BY_KEYS, "0f3FB8AA3B", "0f3F800000", -1, ""},
        Mutation{"lost_trans_by_queries", BY_QUERIES, LOST_TRANS, 0, ""},
        Mutation{"swapped_b_by_queries", BY_QUERIES, SWAPPED_B, 0, ""},
        Mutation{"weaker_wait_by_queries", BY_QUERIES, "wait_group 0", "wait_group 1", 0, "copy-race"},
        Mutation{"lost_barrier_by_queries", BY_QUERIES, LOST_BARRIER, 0, "uninitialised-shared"},
        Mutation{"shuffle_of_the_statistics", STATISTICS, "(shfl[^;]*, %r\\d+, )%r\\d+(, %r\\d+, %r\\d+;)", "$018$2", 0,
                 ""},
        Mutation{"product_of_another_type", FORWARD_F16, "f16\\.f16", "bf16.bf16", 3, ""},
        Mutation{"swapped_pair", FORWARD_F16, "(cvt\\.rn\\.f16x2\\.f32 %r\\d+), (%f\\d+), (%f\\d+);", "$1, $3, $2;", 0,
                 ""},
        Mutation{"lost_commit_f16", FORWARD_F16, LOST_COMMIT, 1, "copy-race"},
        Mutation{"swapped_a_by_keys_f16", BY_KEYS_F16, SWAPPED_A, 0, ""},
        Mutation{"pair_of_one_by_keys", BY_KEYS_F16, "(cvt\\.rn\\.f16x2\\.f32 %r\\d+), %f\\d+, (%f\\d+);",
                 "$1, $2, $2;", 0, ""},
        Mutation{"product_of_another_type_by_queries", BY_QUERIES_F16, "f16\\.f16", "bf16.bf16", -1, ""},
        Mutation{"lost_barrier_by_queries_f16", BY_QUERIES_F16, LOST_BARRIER, 0, "uninitialised-shared"},
        Mutation{"lost_trans_of_staged", UNORDERED, LOST_TRANS, 0, ""},
        Mutation{"lost_trans_of_keys", UNORDERED, LOST_TRANS, 1, ""},
        Mutation{"lost_staged", UNORDERED, "st\\.shared\\.u32[^;]*;", "", 0, "uninitialised-shared"},
        Mutation{"lost_barrier_of_staged", UNORDERED, LOST_BARRIER, 0, "uninitialised-shared"},
        Mutation{"weaker_wait_unordered", UNORDERED, "wait_group 0", "wait_group 1", 0, "copy-race"},
        Mutation{"store_for_add", UNORDERED, "red\\.global\\.add\\.f32", "st.global.f32", 0, ""},
        Mutation{"lost_add", UNORDERED, "\\bred\\.global[^;]*;", "", 3, ""},
        Mutation{"lost_zeros", "fill.cu", "fill_f32", "st\\.global[^;]*;", "", -1, ""},
        Mutation{"another_sum_rounded", ROUND, "(ld\\.global\\.f32[^;]*\\+)128\\]", "$01256]", 0, ""}),
    [](const auto &info) { return info.param.name; });

}  // namespace
}  // namespace rl::emulator
