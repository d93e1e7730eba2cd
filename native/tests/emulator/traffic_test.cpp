// The counters of traffic, on kernels whose traffic is known (tests/kernels/traffic.cu).
#include "emulator/traffic.h"

#include <string>
#include <vector>

#include "tests/emulator/bare_kernels.h"

namespace rl::emulator {
namespace {

enum Space { global, shared };

class Traffic : public BareKernels {
 protected:
  /// The lines of kernel(x, y) of one warp.
  const std::vector<traffic::Line> &run(const char *kernel) {
    const std::vector<float> values(2048, 1.0f);
    Vector x(stream_, 8192, values.data()), y(stream_, 512, nullptr);
    traffic::count(true);
    EXPECT_EQ(launch(kernel, 1, 32, 0, {&x.pointer(), &y.pointer()}), CUDA_SUCCESS) << driver.report();
    traffic::count(false);
    return lines_ = traffic::take();
  }
  traffic::Counts sum(Space space, Access kind) const {
    traffic::Counts counts;
    for (const traffic::Line &line : lines_) {
      if (line.shared == (space == shared) && line.kind == kind) counts += line.counts;
    }
    return counts;
  }
  void expect(Space space, Access kind, uint64_t requests, uint64_t bytes, uint64_t units, uint64_t ideal) const {
    const traffic::Counts counts = sum(space, kind);
    EXPECT_EQ(counts.requests, requests);
    EXPECT_EQ(counts.bytes, bytes);
    EXPECT_EQ(counts.units, units);
    EXPECT_EQ(counts.ideal, ideal);
  }
  void expect_reads(const char *kernel, uint64_t requests, uint64_t bytes, uint64_t sectors, uint64_t ideal) {
    SCOPED_TRACE(kernel);
    run(kernel);
    expect(global, Access::read, requests, bytes, sectors, ideal);
  }

  std::vector<traffic::Line> lines_;
};

TEST_F(Traffic, CountsSectorsOfRequests) {
  expect_reads("coalesced", 1, 128, 4, 4);
  expect(global, Access::write, 1, 128, 4, 4);
  expect_reads("stride_2", 1, 128, 8, 4);
  expect_reads("stride_32", 1, 128, 32, 4);
  expect_reads("misaligned_by_4", 1, 128, 5, 4);
  expect_reads("broadcast", 1, 4, 1, 1);
  expect_reads("vectors", 1, 512, 16, 16);
  expect(global, Access::write, 1, 512, 16, 16);
  expect_reads("halves", 1, 64, 2, 2);
  expect(global, Access::write, 1, 64, 2, 2);
}

TEST_F(Traffic, PutsLanesTogetherThatTakeOnePath) {
  expect_reads("divergent_halves", 2, 128, 4, 4);
  expect_reads("lanes_leave", 32, 2112, 80, 80);
  expect_reads("meets_again", 3, 260, 9, 9);
}

TEST_F(Traffic, CountsWavefrontsOfSharedMemory) {
  run("transpose_unpadded");
  expect(shared, Access::write, 32, 4096, 32, 32);
  expect(shared, Access::read, 32, 4096, 1024, 32);
  run("transpose_padded");
  expect(shared, Access::write, 32, 4096, 32, 32);
  expect(shared, Access::read, 32, 4096, 32, 32);
  for (const Access kind : {Access::write, Access::read}) {
    run("shared_8");
    expect(shared, kind, 1, 256, 2, 2);
    run("shared_16");
    expect(shared, kind, 1, 512, 4, 4);
    run("shared_16_stride_2");
    expect(shared, kind, 1, 512, 8, 4);
  }
  run("shared_broadcast");
  expect(shared, Access::read, 1, 4, 1, 1);
}

TEST_F(Traffic, CountsMatricesAndCopies) {
  run("matrices_unpadded");
  expect(shared, Access::read, 1, 512, 32, 4);
  run("matrices_padded");
  expect(shared, Access::read, 1, 512, 4, 4);
  run("copies");
  expect(global, Access::read, 1, 512, 16, 16);
  expect(shared, Access::write, 1, 512, 4, 4);
  expect(shared, Access::read, 1, 128, 1, 1);
}

// Lanes are put together whatever the order in which they ran.
TEST_F(Traffic, DoesNotDependOnTheOrder) {
  for (const char *order : {"reverse", "random"}) {
    setenv("RLHF4J_EMULATOR_ORDER", order, 1);
    expect_reads("stride_2", 1, 128, 8, 4);
    expect_reads("meets_again", 3, 260, 9, 9);
    run("transpose_unpadded");
    expect(shared, Access::read, 32, 4096, 1024, 32);
  }
}

TEST_F(Traffic, NamesTheWorstLineFirst) {
  const auto &lines = run("transpose_unpadded");
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines[0].place.rfind("traffic.cu:", 0), 0u) << lines[0].place;
  EXPECT_TRUE(lines[0].shared);
  EXPECT_EQ(lines[0].kind, Access::read);
}

TEST_F(Traffic, IsNotCountedUnasked) {
  const std::vector<float> values(2048, 1.0f);
  Vector x(stream_, 8192, values.data()), y(stream_, 512, nullptr);
  EXPECT_EQ(launch("coalesced", 1, 32, 0, {&x.pointer(), &y.pointer()}), CUDA_SUCCESS);
  EXPECT_TRUE(traffic::take().empty());
}

}  // namespace
}  // namespace rl::emulator
