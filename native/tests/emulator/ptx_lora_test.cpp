// Adapters that ride along with few rows and with NF4's codes, their PTX made wrong on purpose: each must be found.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cuda/cuda_weight.h"
#include "dispatch/philox.h"
#include "mutant.h"

namespace rl::emulator {
namespace {

constexpr int64_t kRows = 6, kN = 40, kK = 128, kFrom = 3, kTo = 37, kMostRanks = 280;
const rl_dropout kDropout = {0.5f, 0, 42, 7};

struct Segment {
  int64_t begin, end, rank;
};
// Of the second one's leg there are more steps than parts even of the high thirds: the others may be zeros.
const Segment kSegments[] = {{1, 3, 8}, {3, 6, kMostRanks}};

/// y of lora_linear, or gradX of its backward, by the mutant of a product's kernel; an empty text, "wrong numbers", or the report.
/// All numbers are so coarse that every order of the sums is exact.
std::string lora_says(const Mutation &m) {
  const std::string file = m.file;
  const bool backward = file == "nf4_linear_backward_input.cu", four = file != "linear_few_rows.cu";
  Kernels beside = {
      {"lora_linear.cu", {"lora_put", "lora_mask", "lora_pack_bf16", "lora_down_8_bf16", "lora_down_64_bf16"}}};
  if (four) beside["nf4.cu"] = {"nf4_pack"};
  Mutant mutant(m, {m.entry}, beside);

  const int64_t in = backward ? kN : kK, out = backward ? kK : kN;
  auto values = [](int64_t count, size_t from) {
    std::vector<float> v;
    for (size_t i = 0; i < static_cast<size_t>(count); i++) v.push_back(value(i + from));
    return v;
  };
  auto at = [](const std::vector<float> &v, int64_t width, int64_t row, int64_t column) {
    return v[static_cast<size_t>(row * width + column)];
  };
  auto halves = [](const std::vector<float> &v) {
    std::vector<uint16_t> h;
    for (float x : v) h.push_back(bf16(x));
    return h;
  };
  const std::vector<float> x = values(kRows * in, 5);
  // Forward the codes are 0: the others, as they meet activations of bf16, are rounded.
  std::vector<float> w = values(kN * kK, 99), got(static_cast<size_t>(kRows * out));
  std::vector<uint8_t> codes(w.size() / 2, 0x77);
  for (size_t i = 0; four && i < w.size(); i++) {
    w[i] = !backward ? 0.0f : w[i] < -0.4f ? -1.0f : w[i] > 0.4f ? 1.0f : 0.0f;
    const int code = w[i] < 0 ? 0 : w[i] > 0 ? 15 : 7;
    codes[i / 2] = static_cast<uint8_t>(i % 2 ? (codes[i / 2] & 0xf0) | code : (codes[i / 2] & 0x0f) | code << 4);
  }
  std::vector<std::vector<float>> a, b;
  for (const Segment &s : kSegments) {
    a.push_back(values(s.rank * kK, 17 + a.size()));
    b.push_back(values((kTo - kFrom) * s.rank, 31 + b.size()));
  }
  try {
    const std::vector<uint16_t> hx = halves(x), hw = halves(w);
    const std::vector<float> ones(w.size() / 64, 1.0f), no_h(kRows * kMostRanks, 0.0f);
    const View dx = mutant.tensor(RL_BF16, {kRows, in}, hx.data()), to = mutant.tensor(RL_F32, {kRows, out}, nullptr);
    const Nf4 stored{kN,
                     kK,
                     mutant.tensor(RL_U8, {static_cast<int64_t>(codes.size())}, codes.data()),
                     mutant.tensor(RL_F32, {static_cast<int64_t>(ones.size())}, ones.data()),
                     {},
                     {},
                     {}};
    const std::unique_ptr<cuda::CudaWeight> weight =
        four ? std::make_unique<cuda::CudaWeight>(mutant.device(), &stored, 1, RL_BF16)
             : std::make_unique<cuda::CudaWeight>(mutant.device(), mutant.tensor(RL_BF16, {kN, kK}, hw.data()), false);
    std::vector<LoraSegment> segments;
    for (size_t i = 0; i < std::size(kSegments); i++) {
      const Segment &s = kSegments[i];
      segments.push_back({s.begin,
                          s.end,
                          2.0f,
                          mutant.tensor(RL_F32, {s.rank, kK}, a[i].data()),
                          mutant.tensor(RL_F32, {kTo - kFrom, s.rank}, b[i].data()),
                          {},
                          {}});
    }
    const Lora lora{kFrom,
                    kTo,
                    mutant.tensor(RL_F32, {kRows, kMostRanks}, no_h.data()),
                    segments.data(),
                    static_cast<int32_t>(segments.size()),
                    kDropout};
    if (backward) {
      mutant.ops().lora_linear_backward(mutant.device(), to, dx, dx, *weight, &lora, 1);  // frozen: nobody reads x
    } else {
      mutant.ops().lora_linear(mutant.device(), to, dx, *weight, View{}, &lora, 1);
    }
    mutant.device().copy_to_host(got.data(), to.data, static_cast<int64_t>(got.size() * 4));
  } catch (const std::exception &e) {
    return e.what();
  }

  auto kept = [](int64_t row, int64_t column) {
    const Philox4 words =
        philox(kDropout.seed, kDropout.stream, static_cast<uint32_t>(row), static_cast<uint32_t>(column / 4));
    return philox_uniform(words.word[column % 4]) < kDropout.p ? 0.0f : 2.0f;
  };
  std::vector<float> want(got.size());
  for (int64_t t = 0; t < kRows; t++) {
    float *row = want.data() + t * out;
    for (int64_t i = 0; i < in; i++) {
      for (int64_t c = 0; c < out; c++) row[c] += at(x, in, t, i) * (backward ? at(w, kK, i, c) : at(w, kK, c, i));
    }
    for (size_t s = 0; s < std::size(kSegments); s++) {
      const auto &[begin, end, rank] = kSegments[s];
      if (t < begin || t >= end) continue;
      for (int64_t j = 0; j < rank; j++) {
        float h = 0;  // or gh
        for (int64_t i = 0; i < (backward ? kTo - kFrom : kK); i++) {
          h += backward ? at(x, kN, t, kFrom + i) * at(b[s], rank, i, j)
                        : at(x, kK, t, i) * kept(t, i) * at(a[s], kK, j, i);
        }
        for (int64_t c = 0; c < out; c++) {
          if (backward) {
            row[c] += 2 * h * at(a[s], kK, j, c) * kept(t, c);
          } else if (c >= kFrom && c < kTo) {
            row[c] += 2 * h * at(b[s], rank, c - kFrom, j);
          }
        }
      }
    }
  }
  return got == want ? "" : "wrong numbers";
}

#define NF4_FORWARD "nf4_linear.cu", "nf4_linear_few_rows_lora_f32"
#define NF4_BACKWARD "nf4_linear_backward_input.cu", "nf4_linear_backward_input_8_lora_f32"
#define FEW_ROWS "linear_few_rows.cu", "linear_8_rows_lora_f32"

TEST(LoraKernels, UnchangedOnesAreRight) {
  EXPECT_EQ(lora_says({"", NF4_FORWARD, "", "", 0, ""}), "");
  EXPECT_EQ(lora_says({"", NF4_BACKWARD, "", "", 0, ""}), "");
  EXPECT_EQ(lora_says({"", FEW_ROWS, "", "", 0, ""}), "");
}

class LoraMutations : public testing::TestWithParam<Mutation> {};

TEST_P(LoraMutations, AreFound) { expect_found(GetParam(), lora_says(GetParam())); }

// The first products of a kernel are its legs'.
#define SEGMENTS_ROWS "or\\.pred\\s+(%p\\d+), (%p\\d+), (%p\\d+);", "and.pred $1, $2, $3;"
#define RANGES_COLUMNS "selp\\.u16\\s+(%rs\\d+), 1, 0, %p\\d+;", "mov.u16 $1, 1;"
INSTANTIATE_TEST_SUITE_P(
    Ptx, LoraMutations,
    testing::Values(Mutation{"lost_product", NF4_FORWARD, LOST_PRODUCT, 0, ""},
                    Mutation{"swapped_a", NF4_FORWARD, SWAPPED_A, 0, ""},
                    Mutation{"step_of_another_part", NF4_FORWARD, "add\\.s32\\s+(%r\\d+), (%r\\d+), 256;",
                             "add.s32 $1, $2, 512;", 0, ""},
                    Mutation{"rows_past_the_segment", NF4_FORWARD, SEGMENTS_ROWS, 0, "out-of-bounds"},
                    Mutation{"columns_past_the_range", NF4_FORWARD, RANGES_COLUMNS, 0, "out-of-bounds"},
                    Mutation{"lost_trans", NF4_BACKWARD, LOST_TRANS, 0, ""},
                    Mutation{"lost_dropout", NF4_BACKWARD, "selp\\.f32\\s+(%f\\d+), (%f\\d+), 0f00000000, %p\\d+;",
                             "mov.f32 $1, $2;", 0, ""},
                    Mutation{"step_of_another_warp", NF4_BACKWARD, "add\\.s32\\s+(%r\\d+), \\1, 256;",
                             "add.s32 $1, $1, 512;", 0, ""},
                    Mutation{"rows_past_the_segment_backward", NF4_BACKWARD, SEGMENTS_ROWS, 1, "out-of-bounds"},
                    Mutation{"swapped_b", FEW_ROWS, SWAPPED_B, 0, ""},
                    Mutation{"rows_past_the_segment_of_few", FEW_ROWS, SEGMENTS_ROWS, 0, "out-of-bounds"},
                    Mutation{"columns_past_the_range_of_few", FEW_ROWS, RANGES_COLUMNS, 0, "out-of-bounds"}),
    [](const auto &info) { return info.param.name; });

}  // namespace
}  // namespace rl::emulator
