#include "support.h"

namespace rl::test {
namespace {

class Embedding : public testing::TestWithParam<std::tuple<int64_t, int64_t, int32_t, int32_t>> {};

TEST_P(Embedding, PicksRowsAndAddsTheirGradients) {
  const auto [rows, n, dw, dy] = GetParam();
  const int64_t vocab = 37;
  Ints ids;
  for (int64_t t = 0; t < rows; t++)
    ids.push_back(static_cast<int32_t>(t == 0 ? vocab - 1 : (t * t) % 11));  // many repeat
  const Floats w = random_floats(vocab * n, 1, dw), g = random_floats(rows * n, 2, dy);
  Tensor tw({vocab, n}, w, dw), ty({rows, n}, dy), tids({rows}, ids), tg({rows, n}, g, dy);
  RL_CHECK(rl_embedding(ty, tw, tids));
  Floats want;
  std::vector<double> gradient(w.size(), 0.5);  // accumulates: it starts at 0.5
  for (int64_t t = 0; t < rows; t++) {
    for (int64_t i = 0; i < n; i++) {
      const size_t at = static_cast<size_t>(ids[static_cast<size_t>(t)] * n + i);
      want.push_back(dy == RL_BF16 ? bf16_to_f32(f32_to_bf16(w[at])) : w[at]);
      gradient[at] += static_cast<double>(g[static_cast<size_t>(t * n + i)]);
    }
  }
  EXPECT_EQ(ty.get(), want);
  Tensor tgw({vocab, n}, Floats(w.size(), 0.5f));
  RL_CHECK(rl_embedding_backward(tgw, tg, tids));
  expect_close(tgw.get(), floats(gradient), 1e-5, 1e-5, "gradW");
}

INSTANTIATE_TEST_SUITE_P(Shapes, Embedding,
                         testing::Combine(testing::Values(1, 3, 500), testing::Values(1, 15, 64, 130),
                                          testing::Values(RL_F32, RL_BF16), testing::Values(RL_F32, RL_BF16)));

TEST(EmbeddingErrors, IdsOutOfRangeLeaveTheOutputAlone) {
  Tensor w({5, 4}, Floats(20, 1.0f)), y({3, 4}, Floats(12, 9.0f)), gw({5, 4}, Floats(20, 9.0f)),
      gy({3, 4}, Floats(12, 1.0f));
  for (int32_t bad : {5, -1, INT32_MAX, INT32_MIN}) {
    Tensor ids({3}, Ints{0, 4, bad});
    const std::string found = "ids[2] is " + std::to_string(bad);
    expect_error(rl_embedding(y, w, ids), RL_INVALID_ARGUMENT, {"embedding", found, "expected 0 to 4"});
    expect_error(rl_embedding_backward(gw, gy, ids), RL_INVALID_ARGUMENT,
                 {"embedding_backward", found, "expected 0 to 4"});
  }
  EXPECT_EQ(y.get(), Floats(12, 9.0f));
  EXPECT_EQ(gw.get(), Floats(20, 9.0f));
}

TEST(EmbeddingErrors, NamesWhatIsWrong) {
  Tensor w({5, 4}), y({3, 4}), ids({3}, Ints{0, 1, 2}), wide({3, 5}), real({3}), half({5, 4}, RL_BF16);
  expect_error(rl_embedding(nullptr, w, ids), RL_INVALID_ARGUMENT, {"y", "null"});
  expect_error(rl_embedding(y, nullptr, ids), RL_INVALID_ARGUMENT, {"w", "null"});
  expect_error(rl_embedding(y, w, nullptr), RL_INVALID_ARGUMENT, {"ids", "null"});
  expect_error(rl_embedding(wide, w, ids), RL_INVALID_ARGUMENT, {"y", "expected shape [3,4]", "found [3,5]"});
  expect_error(rl_embedding(y, w, real), RL_INVALID_ARGUMENT, {"ids", "expected dtype i32", "found f32"});
  expect_error(rl_embedding_backward(half, y, ids), RL_INVALID_ARGUMENT, {"gradW", "expected dtype f32", "found bf16"});
}

}  // namespace
}  // namespace rl::test
