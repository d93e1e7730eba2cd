#include "../src/dispatch/philox.h"

#include <gtest/gtest.h>

namespace rl::test {
namespace {

void expect_words(const Philox4 &got, uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3) {
  EXPECT_EQ(got.word[0], w0);
  EXPECT_EQ(got.word[1], w1);
  EXPECT_EQ(got.word[2], w2);
  EXPECT_EQ(got.word[3], w3);
}

// The known answers that the authors' Random123 publishes for philox4x32-10 (tests/kat_vectors).
TEST(Philox, KnownAnswers) {
  expect_words(philox4x32_10(0, 0, 0, 0, 0), 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u);
  expect_words(philox4x32_10(~uint64_t{0}, ~0u, ~0u, ~0u, ~0u), 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu);
  expect_words(philox4x32_10(0x299f31d0a4093822u, 0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u), 0xd16cfe09u,
               0x94fdccebu, 0x5001e420u, 0x24126ea1u);
}

TEST(Philox, SeedStreamRowAndGroupFillKeyAndCounter) {
  const Philox4 got = philox(0x299f31d0a4093822u, 0x85a308d3243f6a88u, 0x13198a2eu, 0x03707344u);
  expect_words(got, 0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u);
}

TEST(Philox, UniformsLieInTheHalfOpenUnitInterval) {
  EXPECT_EQ(philox_uniform(0), 0.0f);
  EXPECT_LT(philox_uniform(~0u), 1.0f);
  EXPECT_EQ(philox_uniform(0x80000000u), 0.5f);
}

TEST(Philox, ThresholdAgreesWithTheUniform) {
  for (float p : {0.0f, 1e-9f, 0.05f, 0.1f, 0.5f, 0.75f, 0.999999f}) {
    const uint32_t threshold = philox_threshold(p);
    for (uint32_t at : {threshold - 2, threshold - 1, threshold, threshold + 1}) {
      if (at >= 1u << 24) continue;
      EXPECT_EQ(at < threshold, philox_uniform(at << 8) < p) << p << " at " << at;
    }
  }
}

}  // namespace
}  // namespace rl::test
