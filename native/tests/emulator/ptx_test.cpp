// The interpreter of PTX: instructions whose meaning is easy to get wrong, and real kernels whose PTX was made wrong on purpose.
// Each of those must be found, by a report or by wrong numbers; without that, a clean run of the other tests would mean nothing.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/cuda_weight.h"
#include "emulator/checker.h"
#include "mutant.h"

namespace rl::emulator {

const bool checked = false;

namespace {

using Words = std::vector<uint32_t>;
const cuda::Driver &driver = emulated_driver(ptx::ptx_machine(80));

uint32_t pair(float low, float high) { return static_cast<uint32_t>(bf16(high)) << 16 | bf16(low); }
uint32_t pair_f16(float low, float high) { return static_cast<uint32_t>(f16(high)) << 16 | f16(low); }

// ---- instructions: each lane has %a, %b, %c and leaves %d; %f0.. and %r0.., %h0.., %p0.., %w0.. are free

struct Outcome {
  Words d;
  std::string report;
};

Outcome execute(const std::string &body, Words a = {}, Words b = {}, Words c = {}, bool loads = true) {
  a.resize(32);
  b.resize(32);
  c.resize(32);
  const std::string text = R"(
.version 8.4
.target sm_80
.address_size 64
.visible .entry kernel(.param .u64 kernel_param_0)
{
  .reg .b32 %a, %b, %c, %d, %t, %r<16>;
  .reg .f32 %f<16>;
  .reg .b16 %h<4>;
  .reg .b64 %at, %w<4>;
  .reg .pred %p<4>;
  .shared .align 16 .b8 tile[1024];
  ld.param.u64 %at, [kernel_param_0];
  mov.u32 %t, %tid.x;
  mul.wide.u32 %w0, %t, 4;
  add.s64 %at, %at, %w0;
  ld.global.u32 %a, [%at];
  ld.global.u32 %b, [%at+128];
  ld.global.u32 %c, [%at+256];
)" + body + "\n  st.global.u32 [%at+384], %d;\n  ret;\n}\n";
  Outcome outcome;
  CUmodule module = nullptr;
  if (driver.cuModuleLoadData(&module, text.c_str()) != CUDA_SUCCESS) {
    outcome.report = driver.report();
    EXPECT_FALSE(loads) << outcome.report;
    return outcome;
  }
  CUfunction kernel = nullptr;
  driver.cuModuleGetFunction(&kernel, module, "kernel");
  CUstream stream = nullptr;
  driver.cuStreamCreate(&stream, 0);
  CUdeviceptr memory = 0;
  driver.cuMemAlloc(&memory, 512);
  driver.lent(memory, 512, stream);
  Words values = a;
  values.insert(values.end(), b.begin(), b.end());
  values.insert(values.end(), c.begin(), c.end());
  driver.cuMemcpyHtoDAsync(memory, values.data(), 384, stream);
  void *parameters[] = {&memory};
  driver.cuLaunchKernel(kernel, 1, 1, 1, 32, 1, 1, 0, stream, parameters, nullptr);
  outcome.d.resize(32);
  driver.cuMemcpyDtoHAsync(outcome.d.data(), memory + 384, 128, stream);
  if (driver.cuStreamSynchronize(stream) != CUDA_SUCCESS) outcome.report = driver.report();
  driver.lent(memory, 0, stream);
  driver.cuMemFree(memory);
  driver.cuStreamDestroy(stream);
  driver.cuModuleUnload(module);
  return outcome;
}

uint32_t lane0(const std::string &body, uint32_t a, uint32_t b = 0, uint32_t c = 0) {
  const Outcome outcome = execute(body, {a}, {b}, {c});
  EXPECT_EQ(outcome.report, "");
  return outcome.d[0];
}

TEST(Instruction, ConversionsToBf16) {
  const std::string nearest = "cvt.rn.bf16x2.f32 %d, %a, %b;";
  EXPECT_EQ(lane0(nearest, bits(1.0f), bits(2.0f)), 0x3f804000u);  // the first operand is the upper half
  EXPECT_EQ(lane0(nearest, 0x3f808000, 0x3f818000), 0x3f803f82u);  // ties to even
  EXPECT_EQ(lane0(nearest, 0x7f7fffff, 0x7fc12345), 0x7f807fffu);  // infinity; a NaN has one form
  EXPECT_EQ(lane0("cvt.rz.bf16x2.f32 %d, %a, %b;", 0x3f80ffff, 0x7f7fffff), 0x3f807f7fu);
  EXPECT_EQ(lane0("cvt.rn.bf16.f32 %h0, %a; mov.b32 %d, {%h0, %h0};", 0x00008001), 0x00010001u);  // subnormal
}
TEST(Instruction, ConversionsToF16) {
  const std::string nearest = "cvt.rn.f16x2.f32 %d, %a, %b;";
  EXPECT_EQ(lane0(nearest, bits(1.0f), bits(2.0f)), 0x3c004000u);          // the first operand is the upper half
  EXPECT_EQ(lane0(nearest, 0x3f801000, 0x3f803000), 0x3c003c02u);          // ties to even
  EXPECT_EQ(lane0(nearest, bits(65519.0f), bits(65520.0f)), 0x7bff7c00u);  // the last that is finite
  EXPECT_EQ(lane0(nearest, bits(0x1p-25f), 0x7fc12345), 0x00007fffu);      // half of the smallest; a NaN has one form
  EXPECT_EQ(lane0("cvt.rz.f16x2.f32 %d, %a, %b;", 0x3f803fff, bits(1e6f)), 0x3c017bffu);
  EXPECT_EQ(lane0("cvt.rn.f16.f32 %h0, %a; cvt.f32.f16 %d, %h0;", bits(0x1.8p-24f)), bits(0x1p-23f));  // subnormal
}
TEST(Instruction, ConversionsToIntegers) {
  EXPECT_EQ(lane0("cvt.rni.s32.f32 %d, %a;", bits(2.5f)), 2u);
  EXPECT_EQ(lane0("cvt.rzi.s32.f32 %d, %a;", bits(-2.9f)), static_cast<uint32_t>(-2));
  EXPECT_EQ(lane0("cvt.rmi.s32.f32 %d, %a;", bits(-2.1f)), static_cast<uint32_t>(-3));
  EXPECT_EQ(lane0("cvt.rzi.u32.f32 %d, %a;", bits(-5.0f)), 0u);
  EXPECT_EQ(lane0("cvt.rzi.s32.f32 %d, %a;", bits(1e20f)), 0x7fffffffu);
  EXPECT_EQ(lane0("cvt.rzi.s32.f32 %d, %a;", 0x7fc00000), 0u);
  EXPECT_EQ(lane0("cvt.s32.s8 %d, %a;", 0x1ff), 0xffffffffu);
  EXPECT_EQ(lane0("cvt.s64.s32 %w0, %a; shr.u64 %w0, %w0, 32; cvt.u32.u64 %d, %w0;", 0x80000000), 0xffffffffu);
}
TEST(Instruction, RoundingOfSums) {
  EXPECT_EQ(lane0("add.rm.f32 %d, %a, %b;", bits(1.0f), bits(-1e-20f)), 0x3f7fffffu);
  EXPECT_EQ(lane0("add.rn.f32 %d, %a, %b;", bits(1.0f), bits(-1e-20f)), bits(1.0f));
  EXPECT_EQ(lane0("fma.rp.f32 %d, %a, %a, %b;", bits(1.0f), bits(1e-20f)), 0x3f800001u);
  EXPECT_EQ(lane0("fma.rn.f32 %d, %a, %a, %b;", 0x3f800003, bits(-1.0f)), 0x35400002u);  // rounded once
  EXPECT_EQ(lane0("mul.ftz.f32 %d, %a, %b;", 0x00800000, bits(0.5f)), 0u);
}
TEST(Instruction, Bytes) {
  EXPECT_EQ(lane0("prmt.b32 %d, %a, %b, 0x7250;", 0x33221100, 0x77665544), 0x77225500u);
  EXPECT_EQ(lane0("prmt.b32 %d, %a, %b, 0x9800;", 0x0000ff80, 0), 0xffff8080u);  // signs
}
TEST(Instruction, BitFields) {
  EXPECT_EQ(lane0("bfe.u32 %d, %a, 4, 8;", 0xabcdef12), 0xf1u);
  EXPECT_EQ(lane0("bfe.s32 %d, %a, 4, 8;", 0xabcdef12), 0xfffffff1u);
  EXPECT_EQ(lane0("bfe.s32 %d, %a, 28, 8;", 0xabcdef12), 0xfffffffau);  // beyond the end: the sign
  EXPECT_EQ(lane0("bfe.u32 %d, %a, 28, 8;", 0xabcdef12), 0xau);
  EXPECT_EQ(lane0("bfe.u32 %d, %a, 4, 0;", 0xabcdef12), 0u);
  EXPECT_EQ(lane0("bfi.b32 %d, %a, %b, 8, 12;", 0xfff, 0), 0xfff00u);
  EXPECT_EQ(lane0("bfind.u32 %d, %a;", 0x00010000), 16u);
  EXPECT_EQ(lane0("bfind.shiftamt.u32 %d, %a;", 0x00010000), 15u);
  EXPECT_EQ(lane0("bfind.s32 %d, %a;", 0xffffffff), 0xffffffffu);
}
TEST(Instruction, Shifts) {
  EXPECT_EQ(lane0("shf.l.wrap.b32 %d, %a, %b, 36;", 0x80000000, 1), 0x18u);
  EXPECT_EQ(lane0("shf.l.clamp.b32 %d, %a, %b, 36;", 0x80000000, 1), 0x80000000u);
  EXPECT_EQ(lane0("shf.r.wrap.b32 %d, %a, %b, 4;", 0x10, 0xf), 0xf0000001u);
  EXPECT_EQ(lane0("shl.b32 %d, %a, 32;", 1), 0u);
  EXPECT_EQ(lane0("shr.s32 %d, %a, 99;", 0x80000000), 0xffffffffu);
}
TEST(Instruction, LogicByTable) {
  EXPECT_EQ(lane0("lop3.b32 %d, %a, %b, %c, 0xe8;", 0b1100, 0b1010, 0b0110), 0b1110u);                  // the majority
  EXPECT_EQ(lane0("lop3.b32 %d, %a, %b, %c, 0xca;", 0xff00ff00, 0x12345678, 0x9abcdef0), 0x12bc56f0u);  // a ? b : c
}
TEST(Instruction, CarriesAndWideProducts) {
  EXPECT_EQ(lane0("add.cc.u32 %r0, %a, %b; addc.u32 %d, %c, 0;", 0xffffffff, 1, 5), 6u);
  EXPECT_EQ(lane0("sub.cc.u32 %r0, %a, %b; subc.u32 %d, %c, 0;", 0, 1, 5), 4u);
  EXPECT_EQ(lane0("mul.hi.s32 %d, %a, %b;", 0xffffffff, 2), 0xffffffffu);
  EXPECT_EQ(lane0("mul.wide.s32 %w0, %a, %b; cvt.u32.u64 %d, %w0;", 0xffffffff, 3), 0xfffffffdu);
}
TEST(Instruction, ComparisonsWithNan) {
  const std::string select = " selp.b32 %d, 1, 0, %p0;";
  EXPECT_EQ(lane0("setp.ne.f32 %p0, %a, %b;" + select, 0x7fc00000, 0), 0u);
  EXPECT_EQ(lane0("setp.neu.f32 %p0, %a, %b;" + select, 0x7fc00000, 0), 1u);
  EXPECT_EQ(lane0("setp.gt.f32 %p1, %a, %b; setp.lt.or.f32 %p0|%p2, %a, %b, !%p1;" + select, bits(1), bits(2)), 1u);
  EXPECT_EQ(lane0("max.f32 %d, %a, %b;", 0x7fc00000, bits(2)), bits(2));
  EXPECT_EQ(lane0("max.NaN.f32 %d, %a, %b;", 0x7fc00000, bits(2)), 0x7fc00000u);
  EXPECT_EQ(lane0("fma.rn.bf16x2 %d, %a, %b, %c;", pair(2, 3), pair(4, 5), pair(1, -1)), pair(9, 14));
}
TEST(Instruction, Shuffles) {
  Words lanes(32);
  for (uint32_t i = 0; i < 32; i++) lanes[i] = i;
  EXPECT_EQ(execute("shfl.sync.bfly.b32 %d, %a, 5, 31, -1;", lanes).d[6], 3u);
  EXPECT_EQ(execute("shfl.sync.down.b32 %d|%p0, %a, 16, 31, -1;", lanes).d[20], 20u);  // beyond the end: its own
  EXPECT_EQ(execute("shfl.sync.up.b32 %d, %a, 2, 0, -1;", lanes).d[9], 7u);
  EXPECT_EQ(execute("shfl.sync.idx.b32 %d, %a, 1, 0x181f, -1;", lanes).d[13], 9u);  // segments of eight
  EXPECT_EQ(execute("setp.gt.u32 %p0, %a, 3; vote.sync.ballot.b32 %d, %p0, -1;", lanes).d[0], 0xfffffff0u);
}

TEST(Instruction, MatrixLoads) {
  // Each lane stores its number as two halves: element (r, c) of the 8 x 8 matrix is 8 r + c.
  const std::string fill = R"(
  mul.lo.u32 %r0, %t, 4;
  mov.u32 %r1, tile;
  add.u32 %r0, %r0, %r1;
  mul.lo.u32 %r2, %t, 0x20002;
  add.u32 %r2, %r2, 0x10000;
  st.shared.u32 [%r0], %r2;
  bar.warp.sync -1;
  and.b32 %r3, %t, 7;
  mul.lo.u32 %r3, %r3, 16;
  add.u32 %r3, %r3, %r1;
)";
  const Words d = execute(fill + "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%d}, [%r3];").d;
  const Words turned = execute(fill + "ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%d}, [%r3];").d;
  for (uint32_t i = 0; i < 32; i++) {
    const uint32_t r = i / 4, c = i % 4 * 2;
    EXPECT_EQ(d[i], (8 * r + c + 1) << 16 | (8 * r + c));
    EXPECT_EQ(turned[i], (8 * (c + 1) + r) << 16 | (8 * c + r));
  }
}

/// d[m][n] = (m + 16) n + m + 1/2 in %f4 to %f7, by the manual's layout.
void expect_product(const std::string &product, const Words &low, const Words &high, const Words &row) {
  for (uint32_t i = 0; i < 4; i++) {
    const Words d = execute(product + "mov.b32 %d, %f" + std::to_string(4 + i) + ";", low, high, row).d;
    for (uint32_t lane = 0; lane < 32; lane++) {
      const uint32_t m = (lane >> 2) + (i >= 2 ? 8 : 0), n = lane % 4 * 2 + i % 2;
      EXPECT_EQ(number(d[lane]), static_cast<float>((m + 16) * n + m) + 0.5f) << "c" << i << " of lane " << lane;
    }
  }
}

/// `type`: bf16 or f16; two: a pair of numbers in a register.
void expect_product_of(const std::string &type, uint32_t (&two)(float low, float high)) {
  // a[m][k] = m + 16 [k == 3], b[k][n] = k == 3 ? n : k == 12: so d[m][n] = (m + 16) n + m + c. Lanes give fragments by the
  // manual's layout, written out here in its own words: groupID, threadID_in_group.
  Words low(32), high(32);
  for (uint32_t lane = 0; lane < 32; lane++) {
    const uint32_t group = lane >> 2, in_group = lane % 4;
    // b0: rows in_group * 2 + {0, 1}, column group; b1: the same + 8
    low[lane] = in_group == 1 ? two(0, static_cast<float>(group)) : 0;
    high[lane] = in_group == 2 ? two(1, 0) : 0;
  }
  Words row(32);
  for (uint32_t lane = 0; lane < 32; lane++) row[lane] = bits(static_cast<float>(lane >> 2));
  std::string product = R"(
  add.f32 %f0, %c, 0f41000000;
  cvt.rn.TYPEx2.f32 %r0, %c, %c;
  cvt.rn.TYPEx2.f32 %r1, %f0, %f0;
  and.b32 %r4, %t, 3;
  setp.eq.u32 %p0, %r4, 1;
  add.f32 %f1, %c, 0f41800000;
  add.f32 %f2, %f0, 0f41800000;
  @%p0 cvt.rn.TYPEx2.f32 %r2, %f1, %c;
  @%p0 cvt.rn.TYPEx2.f32 %r3, %f2, %f0;
  @!%p0 mov.b32 %r2, %r0;
  @!%p0 mov.b32 %r3, %r1;
  mov.f32 %f8, 0f3F000000;
  mma.sync.aligned.m16n8k16.row.col.f32.TYPE.TYPE.f32 {%f4,%f5,%f6,%f7}, {%r2,%r3,%r0,%r1}, {%a,%b}, {%f8,%f8,%f8,%f8};
)";
  for (size_t at; (at = product.find("TYPE")) != std::string::npos;) product.replace(at, 4, type);
  expect_product(product, low, high, row);
}

TEST(Instruction, MatrixProduct) {
  expect_product_of("bf16", pair);
  expect_product_of("f16", pair_f16);
}

TEST(Instruction, Tf32) {
  EXPECT_EQ(lane0("cvt.rna.tf32.f32 %d, %a;", 0x3f801000), 0x3f802000u);  // a half: away from zero
  EXPECT_EQ(lane0("cvt.rna.tf32.f32 %d, %a;", 0xbf800fff), 0xbf800000u);
  // a[m][k] = m + 16 [k == 6], b[k][n] = n [k == 6] + [k == 1]: d[m][n] = (m + 16) n + m. a0: row group, k in_group;
  // a1: row + 8; a2, a3: k + 4. b0: k in_group, column group; b1: k + 4.
  Words low(32), high(32), row(32);
  for (uint32_t lane = 0; lane < 32; lane++) {
    low[lane] = lane % 4 == 1 ? bits(1) : 0;
    high[lane] = lane % 4 == 2 ? bits(static_cast<float>(lane >> 2)) : 0;
    row[lane] = bits(static_cast<float>(lane >> 2));
  }
  const std::string product = R"(
  add.f32 %f0, %c, 0f41000000;
  mov.b32 %r0, %c;
  mov.b32 %r1, %f0;
  and.b32 %r4, %t, 3;
  setp.eq.u32 %p0, %r4, 2;
  mov.b32 %r2, %r0;
  mov.b32 %r3, %r1;
  add.f32 %f1, %c, 0f41800000;
  add.f32 %f2, %f0, 0f41800000;
  @%p0 mov.b32 %r2, %f1;
  @%p0 mov.b32 %r3, %f2;
  mov.f32 %f8, 0f3F000000;
  mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f4,%f5,%f6,%f7}, {%r0,%r1,%r2,%r3}, {%a,%b}, {%f8,%f8,%f8,%f8};
)";
  expect_product(product, low, high, row);
}

TEST(Interpreter, LanesThatDivergeMeetAgain) {
  Words lanes(32), sums(32);
  for (uint32_t i = 0; i < 32; i++) lanes[i] = i;
  const Outcome outcome = execute(R"(
  mov.u32 %r0, 0;
$loop:
  setp.ge.u32 %p0, %r0, %a;
  @%p0 bra $done;
  add.u32 %r0, %r0, 1;
  bra.uni $loop;
$done:
  shfl.sync.bfly.b32 %d, %r0, 31, 31, -1;)",
                                  lanes);
  EXPECT_EQ(outcome.report, "");
  for (uint32_t i = 0; i < 32; i++) EXPECT_EQ(outcome.d[i], 31 - i);
}
TEST(Interpreter, NamesWhatItDoesNotKnow) {
  EXPECT_NE(execute("dp4a.u32.u32 %d, %a, %b, %c;", {}, {}, {}, false).report.find("kernel: line 20: dp4a.u32.u32"),
            std::string::npos);
  EXPECT_NE(execute("add.sat.s32 %d, %a, %b;", {}, {}, {}, false).report.find("unknown modifier .sat"),
            std::string::npos);
  EXPECT_NE(execute("ld.global.u32 %d, [%at+512];").report.find("out-of-bounds"), std::string::npos);
  EXPECT_NE(execute("ld.global.u32 %d, [%at+2];").report.find("misaligned"), std::string::npos);
  EXPECT_NE(execute("st.shared.u32 [tile+1024], %a;").report.find("out-of-bounds-shared"), std::string::npos);
  EXPECT_NE(execute("setp.eq.u32 %p0, %t, 3; @%p0 bra $on; shfl.sync.idx.b32 %d, %a, 0, 31, -1; $on:")
                .report.find("divergent-warp"),
            std::string::npos);
}

// ---- real kernels, and what is made of them

constexpr int64_t kM = 70, kN = 72, kK = 104;  // edges in all directions, rows of 16 bytes

/// y = x w' (or grad x = grad y w) by the mutant; an empty text, "wrong numbers", or the report.
std::string linear_says(const Mutation &m) {
  Mutant mutant(m, {m.entry});
  const bool backward = std::string(m.entry).find("backward") != std::string::npos;
  const int64_t k = backward ? kN : kK, n = backward ? kK : kN;
  std::vector<uint16_t> x(static_cast<size_t>(kM * k)), w(static_cast<size_t>(kN * kK));
  for (size_t i = 0; i < x.size(); i++) x[i] = bf16(value(i));
  for (size_t i = 0; i < w.size(); i++) w[i] = bf16(value(i + 99));
  std::vector<float> y(static_cast<size_t>(kM * n));
  try {
    const View dx = mutant.tensor(RL_BF16, {kM, k}, x.data()), dw = mutant.tensor(RL_BF16, {kN, kK}, w.data()),
               dy = mutant.tensor(RL_F32, {kM, n}, nullptr);
    const cuda::CudaWeight weight(mutant.device(), dw, false);
    if (backward) {
      mutant.device().ops.linear_backward_input(mutant.device(), dy, dx, weight, false);
    } else {
      mutant.device().ops.linear(mutant.device(), dy, dx, weight, View{}, false);
    }
    mutant.device().copy_to_host(y.data(), dy.data, static_cast<int64_t>(y.size() * 4));
  } catch (const std::exception &e) {
    return e.what();
  }
  auto of = [](uint16_t v) { return number(static_cast<uint32_t>(v) << 16); };
  for (int64_t r = 0; r < kM; r++) {
    for (int64_t c = 0; c < n; c++) {
      float sum = 0;  // multiples of 1/64 below 2^17: exact
      for (int64_t i = 0; i < k; i++) {
        sum += of(x[static_cast<size_t>(r * k + i)]) * of(w[static_cast<size_t>(backward ? i * kK + c : c * kK + i)]);
      }
      if (!(y[static_cast<size_t>(r * n + c)] == sum)) return "wrong numbers";
    }
  }
  return "";
}

/// y = rms_norm(x) by the mutant.
std::string norm_says(const Mutation &m) {
  constexpr int64_t rows = 3, columns = 301;
  Mutant mutant(m, {m.entry});
  std::vector<float> x(rows * columns), w(columns, 1.0f);
  for (size_t i = 0; i < x.size(); i++) x[i] = value(i);
  std::vector<uint16_t> y(x.size()), bx(x.size());
  for (size_t i = 0; i < x.size(); i++) bx[i] = bf16(x[i]);
  try {
    const View dx = mutant.tensor(RL_BF16, {rows, columns}, bx.data()), dw = mutant.tensor(RL_F32, {columns}, w.data()),
               dy = mutant.tensor(RL_BF16, {rows, columns}, nullptr);
    mutant.device().ops.rms_norm(mutant.device(), dy, dx, dw, 1e-5f);
    mutant.device().copy_to_host(y.data(), dy.data, static_cast<int64_t>(y.size() * 2));
  } catch (const std::exception &e) {
    return e.what();
  }
  for (size_t r = 0; r < rows; r++) {
    double squares = 0;
    for (size_t i = 0; i < columns; i++) squares += x[r * columns + i] * x[r * columns + i];
    for (size_t i = 0; i < columns; i++) {
      const double exact = x[r * columns + i] / std::sqrt(squares / columns + 1e-5);
      const double got = number(static_cast<uint32_t>(y[r * columns + i]) << 16);
      // Half a unit of bf16's eight digits, and what the f32 sum may add.
      if (!(std::fabs(got - exact) <= std::fabs(exact) * 0x1p-8 * 1.01)) return "wrong numbers";
    }
  }
  return "";
}

std::string says(const Mutation &m) { return std::string(m.file) == "linear.cu" ? linear_says(m) : norm_says(m); }

TEST(Kernels, UnchangedOnesAreRight) {
  EXPECT_EQ(linear_says({"", "linear.cu", "linear_f32_bf16", "", "", 0, ""}), "");
  EXPECT_EQ(linear_says({"", "linear.cu", "linear_backward_input_f32_bf16", "", "", 0, ""}), "");
  EXPECT_EQ(norm_says({"", "rms_norm.cu", "rms_norm_bf16_bf16", "", "", 0, ""}), "");
}

class Mutations : public testing::TestWithParam<Mutation> {};

TEST_P(Mutations, AreFound) { expect_found(GetParam(), says(GetParam())); }

#define FORWARD "linear.cu", "linear_f32_bf16"
#define BACKWARD "linear.cu", "linear_backward_input_f32_bf16"
#define NORM "rms_norm.cu", "rms_norm_bf16_bf16"
INSTANTIATE_TEST_SUITE_P(
    Ptx, Mutations,
    testing::Values(
        Mutation{"lost_trans", BACKWARD, LOST_TRANS, 0, ""},
        Mutation{"trans_too_many", FORWARD, "m8n8\\.x4", "m8n8.x4.trans", 0, ""},
        Mutation{"swapped_a", FORWARD, SWAPPED_A, 0, ""}, Mutation{"swapped_b", FORWARD, SWAPPED_B, 0, ""},
        Mutation{"swapped_c", FORWARD, SWAPPED_C, 0, ""},
        Mutation{"lost_accumulator", FORWARD, "(mma[^;]*, )\\{[^}]*\\};",
                 "$1{0f00000000,0f00000000,0f00000000,0f00000000};", -1, ""},
        Mutation{"lost_product", FORWARD, LOST_PRODUCT, 3, ""},
        Mutation{"lost_zero_fill", FORWARD, NO_ZERO_FILL, -1, ""},
        Mutation{"all_zero_fill", FORWARD, ALL_ZERO_FILL, 0, ""},
        Mutation{"weaker_first_wait", FORWARD, "wait_group 1", "wait_group 2", 0, "copy-race"},
        Mutation{"weaker_wait_of_the_loop", FORWARD, "wait_group 1", "wait_group 2", 1, "copy-race"},
        Mutation{"lost_commit", FORWARD, LOST_COMMIT, 0, "copy-race"},
        Mutation{"lost_first_barrier", FORWARD, LOST_BARRIER, 0, "uninitialised-shared"},
        Mutation{"lost_second_barrier", FORWARD, LOST_BARRIER, 1, "race"},
        Mutation{"matrix_off_by_a_row", FORWARD, "(ldmatrix[^\\[]*\\[%r\\d+)\\]", "$1+80]", 0, ""},
        Mutation{"matrix_off_by_an_element", FORWARD, "(ldmatrix[^\\[]*\\[%r\\d+)\\]", "$1+2]", 0, "misaligned"},
        Mutation{"copy_off_by_a_piece", FORWARD, "(cp\\.async\\.cg[^\\[]*\\[%r\\d+)\\]", "$1+16]", 0,
                 "uninitialised-shared"},
        Mutation{"shuffle_by_another_lane", NORM, "(shfl[^;]*, %r\\d+, )%r\\d+(, %r\\d+, %r\\d+;)", "$015$2", 0, ""},
        Mutation{"shuffle_of_half_a_warp", NORM, "(shfl[^;]*, )%r\\d+;", "$0165535;", 0, "divergent-warp"},
        Mutation{"lost_barrier_of_a_sum", NORM, LOST_BARRIER, 1, "race"},
        Mutation{"barrier_of_some", NORM, "bar\\.sync\\s+0;",
                 "{ .reg .pred q; .reg .b32 u; mov.u32 u, %tid.x; setp.lt.u32 q, u, 32; @q bar.sync 0; }", 0,
                 "divergent-barrier"},
        Mutation{"rounding_towards_zero", NORM, "cvt\\.rn\\.bf16\\.f32", "cvt.rz.bf16.f32", -1, ""},
        Mutation{"lost_guard", FORWARD, "(or\\.pred[^;]*;\\s*)@%p\\d+ bra\\s+\\S+;", "$1", -1, "out-of-bounds"}),
    [](const auto &info) { return info.param.name; });

}  // namespace
}  // namespace rl::emulator

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
