#include "support.h"

namespace rl::test {
namespace {

struct Case {
  Ints lengths;
  int64_t slots, capacity, heads, kvHeads, d;
  int32_t window, dtype;
  int64_t pages = 1;  // slots of a row
};

void PrintTo(const Case &c, std::ostream *out) {
  *out << c.lengths.size() << " rows, heads " << c.heads << "/" << c.kvHeads << " d " << c.d << " window " << c.window
       << " pages " << c.pages << " of " << c.capacity;
}

class AttentionDecode : public testing::TestWithParam<Case> {};

TEST_P(AttentionDecode, MatchesTheFormula) {
  const Case c = GetParam();
  const int64_t rows = static_cast<int64_t>(c.lengths.size()), group = c.heads / c.kvHeads;
  const int64_t qn = rows * c.heads * c.d, cache = c.slots * c.capacity * c.kvHeads * c.d;
  const Floats q = random_floats(qn, 1, c.dtype);
  Floats k = random_floats(cache, 2, c.dtype), v = random_floats(cache, 3, c.dtype);
  Ints slots;
  for (int64_t i = 0; i < rows * c.pages; i++) slots.push_back(static_cast<int32_t>((i * 5 + 2) % c.slots));
  const double scale = 1 / std::sqrt(static_cast<double>(c.d));

  Floats want(static_cast<size_t>(qn));
  std::vector<bool> seen(static_cast<size_t>(cache));
  for (int64_t b = 0; b < rows; b++) {
    const int64_t n = c.lengths[static_cast<size_t>(b)], from = c.window > 0 ? std::max<int64_t>(0, n - c.window) : 0;
    for (int64_t h = 0; h < c.heads; h++) {
      auto cell = [&](int64_t j, int64_t e) {
        const int64_t slot = slots[static_cast<size_t>(b * c.pages + j / c.capacity)];
        return static_cast<size_t>(((slot * c.capacity + j % c.capacity) * c.kvHeads + h / group) * c.d + e);
      };
      std::vector<double> p, o(static_cast<size_t>(c.d));
      double top = -1e300, sum = 0;
      for (int64_t j = from; j < n; j++) {
        double dot = 0;
        for (int64_t e = 0; e < c.d; e++) {
          dot += static_cast<double>(q[static_cast<size_t>((b * c.heads + h) * c.d + e)]) *
                 static_cast<double>(k[cell(j, e)]);
        }
        p.push_back(dot * scale);
        top = std::max(top, dot * scale);
      }
      for (double &x : p) sum += x = std::exp(x - top);
      for (int64_t j = from; j < n; j++) {
        for (int64_t e = 0; e < c.d; e++) {
          o[static_cast<size_t>(e)] += p[static_cast<size_t>(j - from)] / sum * static_cast<double>(v[cell(j, e)]);
          seen[cell(j, e)] = true;
        }
      }
      for (int64_t e = 0; e < c.d; e++) {
        want[static_cast<size_t>((b * c.heads + h) * c.d + e)] = static_cast<float>(o[static_cast<size_t>(e)]);
      }
    }
  }
  for (size_t i = 0; i < seen.size(); i++) {
    if (!seen[i]) k[i] = v[i] = NAN;  // to read it would show
  }
  // q and o are column slices of wider tensors.
  const int64_t width = c.heads * c.d, wide = width + 8;
  Floats rows_of_q(static_cast<size_t>(rows * wide), 99.0f);
  for (int64_t b = 0; b < rows; b++)
    std::copy(q.begin() + b * width, q.begin() + (b + 1) * width, rows_of_q.begin() + b * wide);
  Tensor wide_q({rows, wide}, rows_of_q, c.dtype),
      wide_o({rows, wide}, Floats(static_cast<size_t>(rows * wide), 5.0f), c.dtype);
  auto slice = [&](Tensor &t) {
    rl_tensor s = t.raw();
    s.rank = 3;
    s.shape[1] = c.heads;
    s.shape[2] = c.d;
    s.stride[1] = c.d;
    s.stride[2] = 1;
    return s;
  };
  const rl_tensor tq = slice(wide_q), to = slice(wide_o);
  Tensor tk({c.slots, c.capacity, c.kvHeads, c.d}, k, c.dtype), tv({c.slots, c.capacity, c.kvHeads, c.d}, v, c.dtype);
  Tensor ts(c.pages == 1 ? std::vector<int64_t>{rows} : std::vector<int64_t>{rows, c.pages}, slots),
      tl({rows}, c.lengths);
  RL_CHECK(rl_attention_decode(&to, &tq, tk, tv, ts, tl, static_cast<float>(scale), c.window));
  const Floats all = wide_o.get();
  Floats got;
  for (int64_t b = 0; b < rows; b++) {
    got.insert(got.end(), all.begin() + b * wide, all.begin() + b * wide + width);
    for (int64_t i = width; i < wide; i++)
      ASSERT_EQ(all[static_cast<size_t>(b * wide + i)], 5.0f) << "beside the slice";
  }
  expect_matches(got, want, c.dtype, "o");
}

// Lengths around the blocks of 32 and the pieces of 512; groups of one to more than four heads.
INSTANTIATE_TEST_SUITE_P(
    Shapes, AttentionDecode,
    testing::Values(Case{{1}, 1, 1, 1, 1, 1, 0, RL_F32}, Case{{1, 31, 32, 33}, 7, 40, 3, 1, 64, 0, RL_F32},
                    Case{{5, 16, 17, 100, 64}, 6, 128, 9, 3, 64, 0, RL_BF16},
                    Case{{511, 512, 513}, 3, 600, 2, 2, 16, 0, RL_F32}, Case{{1300, 7}, 3, 1300, 8, 2, 20, 0, RL_F32},
                    Case{{1300, 513}, 3, 1300, 9, 3, 64, 0, RL_BF16}, Case{{90, 3}, 4, 96, 14, 2, 5, 0, RL_F32},
                    Case{{90, 3}, 4, 96, 6, 1, 80, 7, RL_F32}, Case{{1200, 700, 9}, 4, 1200, 5, 1, 32, 600, RL_F32},
                    Case{{40}, 3, 50, 4, 2, 128, 1, RL_BF16}, Case{{1, 15, 16, 17, 63}, 7, 64, 9, 3, 64, 0, RL_F16},
                    Case{{600, 257}, 3, 600, 2, 1, 96, 300, RL_F16}));

// Rows of several pages: sizes that blocks of positions fit into and such that they do not, also pages shared by rows.
INSTANTIATE_TEST_SUITE_P(Pages, AttentionDecode,
                         testing::Values(Case{{1, 7, 8, 9, 24}, 16, 8, 3, 1, 64, 0, RL_F32, 3},
                                         Case{{64, 65, 1, 300, 256}, 26, 64, 9, 3, 64, 0, RL_BF16, 5},
                                         Case{{64, 65, 1, 300}, 23, 64, 9, 3, 64, 0, RL_F32, 5},
                                         Case{{13, 1, 5}, 13, 1, 4, 2, 16, 0, RL_BF16, 13},
                                         Case{{700, 17}, 8, 100, 8, 1, 80, 0, RL_BF16, 7},
                                         Case{{700, 350, 3}, 8, 100, 4, 2, 32, 300, RL_F32, 7},
                                         Case{{90, 45}, 7, 17, 4, 2, 96, 33, RL_BF16, 6},
                                         Case{{64, 65, 1, 300, 256}, 26, 64, 8, 4, 80, 0, RL_F16, 5}));

// Groups that do not fill the rows of a matrix product, or more than fill them; heads of all widths; tensors that no vector fits.
INSTANTIATE_TEST_SUITE_P(
    Groups, AttentionDecode,
    testing::Values(Case{{33, 5}, 2, 40, 16, 1, 64, 0, RL_BF16}, Case{{33, 5}, 2, 40, 17, 1, 64, 0, RL_BF16},
                    Case{{20}, 2, 40, 40, 1, 32, 0, RL_F32}, Case{{20, 300}, 2, 300, 40, 1, 48, 0, RL_BF16},
                    Case{{70, 15}, 2, 80, 4, 1, 256, 0, RL_BF16}, Case{{70, 15}, 2, 80, 4, 1, 256, 0, RL_F32},
                    Case{{70, 290}, 2, 300, 3, 3, 200, 0, RL_BF16}, Case{{70, 290}, 2, 300, 2, 1, 160, 0, RL_F32},
                    Case{{16, 31}, 2, 33, 4, 2, 13, 0, RL_BF16}, Case{{16, 31}, 2, 33, 4, 2, 13, 5, RL_F32},
                    Case{{64, 63, 65}, 3, 65, 12, 12, 64, 0, RL_BF16}, Case{{33, 5}, 2, 40, 17, 1, 128, 0, RL_F16},
                    Case{{16, 31}, 2, 33, 4, 2, 13, 5, RL_F16}));

TEST(AttentionDecodeErrors, NamesOpArgumentExpectedAndFound) {
  const Floats ones(480, 1.0f);
  Tensor q({2, 4, 8}, Floats(64, 1.0f)), o({2, 4, 8}), k({3, 10, 2, 8}, ones), v({3, 10, 2, 8}, ones);
  Tensor slots({2}, Ints{0, 2}), lengths({2}, Ints{1, 10});
  RL_CHECK(rl_attention_decode(o, q, k, v, slots, lengths, 1, 0));
  auto wrong = [&](const rl_tensor *to, const rl_tensor *tk, const rl_tensor *ts, const rl_tensor *tl,
                   const std::vector<std::string> &parts) {
    expect_error(rl_attention_decode(to, q, tk, v, ts, tl, 1, 0), RL_INVALID_ARGUMENT, parts);
  };
  for (const auto &[at, text] :
       {std::pair{Ints{0, 3}, "slots[1] is 3, expected 0 to 2"}, {Ints{-1, 0}, "slots[0] is -1"}}) {
    Tensor bad({2}, at);
    wrong(o, k, bad, lengths, {"attention_decode", text});
  }
  for (const auto &[at, text] :
       {std::pair{Ints{0, 3}, "lengths[0] is 0, expected 1 to 10"}, {Ints{1, 11}, "lengths[1] is 11"}}) {
    Tensor bad({2}, at);
    wrong(o, k, slots, bad, {"attention_decode", text});
  }
  Tensor k3({3, 10, 3, 8}), three({3}, Ints{0, 1, 2}), floats({2});
  wrong(o, nullptr, slots, lengths, {"cacheK", "null"});
  Tensor kh({3, 10, 2, 8}, RL_F16), qu({2, 4, 8}, RL_U8);
  wrong(o, kh, slots, lengths, {"cacheK: expected dtype f32, found f16"});
  expect_error(rl_attention_decode(o, qu, k, v, slots, lengths, 1, 0), RL_INVALID_ARGUMENT,
               {"q: expected f32, bf16 or f16, found u8"});
  wrong(o, k3, slots, lengths, {"cacheV: expected shape [3,10,3,8], found [3,10,2,8]"});
  wrong(o, k, three, lengths, {"slots: expected shape [2], found [3]"});
  wrong(o, k, slots, floats, {"lengths: expected dtype i32, found f32"});
  Tensor none({2, 0}, RL_I32), pages({2, 2}, Ints{0, 1, 2, 3}), good({2, 2}, Ints{0, 1, 2, 1}), cube({2, 1, 1}, RL_I32),
      longer({2}, Ints{20, 21});
  wrong(o, k, none, lengths, {"slots: expected at least one element, found shape [2,0]"});
  wrong(o, k, cube, lengths, {"slots: expected shape [2], found [2,1,1]"});
  wrong(o, k, pages, lengths, {"slots[3] is 3, expected 0 to 2"});
  wrong(o, k, good, longer, {"lengths[1] is 21, expected 1 to 20"});
  wrong(q, k, slots, lengths, {"o: expected memory of its own, found that it overlaps q"});
}

}  // namespace
}  // namespace rl::test
