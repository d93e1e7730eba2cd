// The cases of the traffic report: for each op a small shape that its kernels treat as they do a real one (whole tiles, many
// blocks), the bytes that it must move (each input once, each output once) and the operations of its products, by a formula that
// serves the real shape too: a Llama of 8 B parameters, a batch of 4096 tokens in 8 sequences.
#pragma once

#include <memory>
#include <optional>

#include "support.h"

namespace rl::test {

struct Cost {
  double bytes, operations = 0;
};
struct Case {
  std::string name, shape;
  Cost small;
  std::string model_shape;
  Cost model;
  bool tensor_cores = false;
};
/// Runs and counts a case.
using Measure = std::function<void(const Case &, const std::function<void()> &)>;

const char *const kHeader = R"(# Traffic of the kernels

Counted by the emulator (`RLHF4J_TEST_DEVICE=emulated-checked build/cuda/tests/traffic_report`), which writes this to
`build/cuda/traffic.md`; this file is a copy. How to read it: [README.md](README.md).

## Ops

Minimum: each input once, each output once. Moved: 32 bytes for each sector that the multiprocessors ask for, whichever memory or
cache answers. The last four columns are **a model, not a measurement**: the time that an H100 SXM needs at least for the minimum
(3.35 TB/s) and for the products (989 TFLOP/s in bf16 on tensor cores, 67 TFLOP/s in f32), whichever is longer.

| op | shape counted | minimum MB | moved MB | moved / minimum | model's shape | minimum MB | GFLOP | roofline µs | bound by |
|---|---|---:|---:|---:|---|---:|---:|---:|---|
)";
const char *const kKernelsHeader = R"(
## Kernels

Sectors: how many of 32 bytes requests touch for each one that their bytes would fill. Wavefronts: how many shared memory needs for
each that the width of the accesses needs. Budget: `native/cuda/traffic.def`. Last: the line that loses most, with what it takes and
the ideal.

| op | kernel | global MB | sectors / ideal | shared wavefronts, thousands | / ideal | budget | where most is lost |
|---|---|---:|---:|---:|---:|---:|---|
)";

// ---- products

inline void linear_cases(const Measure &measure) {
  auto cost = [](double t, double k, double n, double size) {
    return Cost{size * (t * k + n * k + t * n), 2 * t * k * n};
  };
  auto weight_cost = [](double t, double k, double n, double size) {  // gradW is read and written, in f32
    return Cost{size * (t * k + t * n) + 8 * n * k, 2 * t * k * n};
  };
  for (const int32_t dtype : {RL_BF16, RL_F32}) {
    const bool bf16 = dtype == RL_BF16;
    const double size = bf16 ? 2 : 4;
    const int64_t t = 256, k = bf16 ? 512 : 128, n = bf16 ? 512 : 128;
    const std::string type = bf16 ? "bf16" : "f32",
                      small = std::to_string(t) + " x " + std::to_string(k) + " x " + std::to_string(n);
    const char *const model = "4096 x 4096 x 4096";
    Tensor x({t, k}, random_floats(t * k, 1), dtype), w({n, k}, random_floats(n * k, 2), dtype),
        y({t, n}, random_floats(t * n, 3), dtype), gradX({t, k}, dtype),
        gradW({n, k}, Floats(static_cast<size_t>(n * k)));
    WeightHandle weight(w, false);
    const double dt = t, dk = k, dn = n;
    measure({"linear " + type, small, cost(dt, dk, dn, size), model, cost(4096, 4096, 4096, size), bf16},
            [&] { RL_CHECK(rl_linear(y, x, weight, nullptr, 0)); });
    measure({"linear_backward_input " + type, small, cost(dt, dk, dn, size), model, cost(4096, 4096, 4096, size), bf16},
            [&] { RL_CHECK(rl_linear_backward_input(gradX, y, weight, 0)); });
    measure({"linear_backward_weight " + type, small, weight_cost(dt, dk, dn, size), model,
             weight_cost(4096, 4096, 4096, size), bf16},
            [&] { RL_CHECK(rl_linear_backward_weight(gradW, nullptr, y, x)); });
  }
  Tensor x({8, 512}, random_floats(8 * 512, 1), RL_BF16), w({512, 512}, random_floats(512 * 512, 2), RL_BF16),
      y({8, 512}, RL_BF16);
  WeightHandle weight(w, false);
  measure(
      {"linear bf16, few rows", "8 x 512 x 512", cost(8, 512, 512, 2), "8 x 4096 x 4096", cost(8, 4096, 4096, 2), true},
      [&] { RL_CHECK(rl_linear(y, x, weight, nullptr, 0)); });
}

/// A matrix in NF4, its absmax quantised, too.
struct FourBits {
  static constexpr double kBytes = 0.5 + 1.0 / 64;  // of a value: its code, and a block's absmax in a byte

  FourBits(int64_t n, int64_t k, const Tensor &w)
      : codes({n * k / 2}, RL_U8),
        absmax({n * k / 64}, RL_U8),
        nested({256}, steps()),
        outer({n * k / 64 / 256}),
        offset({1}),
        m{n, k, *codes, *absmax, *nested, *outer, *offset} {
    EXPECT_EQ(rl_nf4_quantize(&m, w), RL_OK) << rl_last_error();
  }
  static Floats steps() {
    Floats code;
    for (int i = 0; i < 256; i++) code.push_back(static_cast<float>(i - 127) / 128.0f);
    return code;
  }
  Tensor codes, absmax, nested, outer, offset;
  rl_nf4 m;
};

inline void nf4_cases(const Measure &measure) {
  constexpr int64_t n = 512, k = 512;
  const double kBits = FourBits::kBytes;
  Tensor w({n, k}, random_floats(n * k, 1, RL_BF16, 0.05f), RL_BF16);
  const FourBits four(n, k, w);
  const rl_nf4 &m = four.m;
  auto cost = [&](double size) { return Cost{size * (2 + kBits)}; };
  measure({"nf4_quantize", "512 x 512 bf16", cost(n * k), "4096 x 4096", cost(4096.0 * 4096)},
          [&] { RL_CHECK(rl_nf4_quantize(&m, w)); });
  measure({"nf4_dequantize", "512 x 512 bf16", cost(n * k), "4096 x 4096", cost(4096.0 * 4096)},
          [&] { RL_CHECK(rl_nf4_dequantize(w, &m)); });
  rl_weight weight = 0;
  measure({"nf4: pack", "512 x 512", {n * k * 2 * kBits}, "4096 x 4096", {4096.0 * 4096 * 2 * kBits}},
          [&] { RL_CHECK(rl_weight_pack_nf4(&weight, &m, 1, RL_BF16)); });
  auto product = [&](double t, double size) {
    return Cost{kBits * size * size + 2 * t * 2 * size, 2 * t * size * size};
  };
  for (const int64_t rows : {4, 16, 64, 256, 512}) {
    Tensor x({rows, k}, random_floats(rows * k, 2), RL_BF16), y({rows, n}, RL_BF16);
    const double t = static_cast<double>(rows);
    const std::string r = std::to_string(rows);
    measure({"linear over NF4, " + r + " rows", r + " x 512 x 512", product(t, 512), r + " x 4096 x 4096",
             product(t, 4096), true},
            [&] { RL_CHECK(rl_linear(y, x, weight, nullptr, 0)); });
    if (rows != 4 && rows != 64) continue;
    measure({"linear_backward_input over NF4, " + r + " rows", r + " x 512 x 512", product(t, 512),
             r + " x 4096 x 4096", product(t, 4096), true},
            [&] { RL_CHECK(rl_linear_backward_input(x, y, weight, 0)); });
  }
  Ints which;
  for (int i = 0; i < 64; i++) which.push_back(i * 7 % 512);
  Tensor ids({64}, which), rows({64, k}, RL_BF16);
  measure({"weight_rows over NF4",
           "64 of 512 x 512",
           {64 * k * (2 + kBits)},
           "4096 of 128256 x 4096",
           {4096.0 * 4096 * (2 + kBits)}},
          [&] { RL_CHECK(rl_weight_rows(rows, weight, ids)); });
  rl_weight_free(weight);
}

/// LoRA by adapters of rank 16 on all columns, with the base product, over a bf16 matrix or NF4's codes, and what adapters add.
inline void lora_cases(const Measure &measure) {
  constexpr int64_t k = 512, n = 512, r = 16;
  Tensor w({n, k}, random_floats(n * k, 6), RL_BF16), a({r, k}, random_floats(r * k, 4)),
      b({n, r}, random_floats(n * r, 5)), gradA({r, k}, Floats(r * k)), gradB({n, r}, Floats(n * r));
  const FourBits codes(n, k, w);
  rl_weight dense = 0, four = 0;
  RL_CHECK(rl_weight_pack(&dense, w, RL_BF16));
  RL_CHECK(rl_weight_pack_nf4(&four, &codes.m, 1, RL_BF16));
  struct Shape {
    const char *over;
    rl_weight weight;
    int64_t rows;
    double value;  // bytes of W's
    bool backward;
  };
  for (const Shape &c : {Shape{"", dense, 256, 2, true}, Shape{"", dense, 4, 2, false},
                         Shape{" over NF4, 4 rows", four, 4, FourBits::kBytes, true},
                         Shape{" over NF4, 64 rows", four, 64, FourBits::kBytes, true}}) {
    const int64_t t = c.rows;
    auto adapters = [](double rows, double wide) { return 4 * rows * r + 4 * r * wide * 2; };
    auto forward = [&](double rows, double wide) {
      return Cost{2 * rows * wide * 2 + c.value * wide * wide + adapters(rows, wide), 2 * rows * wide * (wide + r * 2)};
    };
    auto backward = [&](double rows, double wide) {  // gradX, gradA and gradB; these take x and gradY once more
      return Cost{2 * rows * wide * 3 + c.value * wide * wide + 3 * adapters(rows, wide),
                  2 * rows * wide * (wide + r * 4)};
    };
    Tensor x({t, k}, random_floats(t * k, 1), RL_BF16), y({t, n}, random_floats(t * n, 2), RL_BF16), h({t, r}),
        gradX({t, k}, RL_BF16);
    rl_lora_segment s{};
    s.end = t;
    s.scale = 2;
    s.a = a.raw(), s.b = b.raw(), s.gradA = gradA.raw(), s.gradB = gradB.raw();
    rl_lora lora{};
    lora.to = n, lora.h = h.raw(), lora.segments = &s, lora.count = 1;
    const std::string shape = std::to_string(t) + " x 512 x 512, r 16", over = c.over;
    const double rows = t > 64 ? 4096 : static_cast<double>(t);
    const std::string real = std::to_string(static_cast<int>(rows)) + " x 4096 x 4096, r 16";
    measure({"lora_linear" + over, shape, forward(static_cast<double>(t), k), real, forward(rows, 4096), true},
            [&] { RL_CHECK(rl_lora_linear(y, x, c.weight, nullptr, &lora, 1)); });
    if (!c.backward) continue;
    measure(
        {"lora_linear_backward" + over, shape, backward(static_cast<double>(t), k), real, backward(rows, 4096), true},
        [&] { RL_CHECK(rl_lora_linear_backward(gradX, y, x, c.weight, &lora, 1)); });
  }
  rl_weight_free(dense);
  rl_weight_free(four);
}

// ---- attention

/// As long as it lives, the tests' device is one with RLHF4J_CUDA_DETERMINISTIC=0.
class UnorderedDevice {
 public:
  UnorderedDevice() {
    setenv("RLHF4J_CUDA_DETERMINISTIC", "0", 1);
    EXPECT_EQ(rl_device_open(&device(), backend(), 0, 2), RL_OK) << rl_last_error();
    unsetenv("RLHF4J_CUDA_DETERMINISTIC");
  }
  ~UnorderedDevice() {
    rl_device_close(device());
    device() = ordered_;
  }
  UnorderedDevice(const UnorderedDevice &) = delete;

 private:
  const rl_device ordered_ = device();
};

inline void attention_cases(const Measure &measure) {
  struct Instance {
    int64_t d;
    int32_t dtype;
    int64_t t;
    bool unordered = false;
  };
  for (const Instance c :
       {Instance{64, RL_BF16, 256}, Instance{128, RL_BF16, 256}, Instance{64, RL_F16, 256}, Instance{64, RL_F32, 128},
        Instance{64, RL_BF16, 256, true}, Instance{128, RL_BF16, 256, true}}) {
    std::optional<UnorderedDevice> unordered;
    if (c.unordered) unordered.emplace();
    constexpr int64_t heads = 4, kvHeads = 2;
    const int64_t t = c.t;
    const bool halves = is_16_bits(c.dtype);
    const double size = halves ? 2 : 4;
    auto cost = [&](double sequences, double length, double hq, double hk, double d, bool backward) {
      const double tokens = sequences * length, q = tokens * hq * d * size, kv = tokens * hk * d * size,
                   lse = tokens * hq * 4;
      return Cost{
          backward ? 4 * q + 4 * kv + lse : 2 * q + 2 * kv + lse,  // backward: q, o, gradO, gradQ; k, v and theirs
          (backward ? 5 : 2) * sequences * length * length * d * hq};
    };
    const std::string type = c.dtype == RL_BF16 ? "bf16"
                             : halves           ? "f16"
                                                : "f32",
                      d = std::to_string(c.d), shape = "1 x " + std::to_string(t) + ", heads 4/2 of " + d,
                      model = "8 x 512, heads 32/8 of " + d;
    Tensor q({t, heads, c.d}, random_floats(t * heads * c.d, 1), c.dtype),
        k({t, kvHeads, c.d}, random_floats(t * kvHeads * c.d, 2), c.dtype),
        v({t, kvHeads, c.d}, random_floats(t * kvHeads * c.d, 3), c.dtype),
        gradO({t, heads, c.d}, random_floats(t * heads * c.d, 4), c.dtype), o({t, heads, c.d}, c.dtype),
        lse({heads, t}), gradQ({t, heads, c.d}, c.dtype), gradK({t, kvHeads, c.d}, c.dtype),
        gradV({t, kvHeads, c.d}, c.dtype), cu({2}, Ints{0, static_cast<int32_t>(t)});
    const double dt = static_cast<double>(t), dd = static_cast<double>(c.d);
    auto forward = [&] { RL_CHECK(rl_attention(o, lse, q, k, v, cu, 0.125f, 0)); };
    if (c.unordered) {
      forward();
    } else {
      measure({"attention " + type + " " + d, shape, cost(1, dt, heads, kvHeads, dd, false), model,
               cost(8, 512, 32, 8, dd, false), halves},
              forward);
    }
    measure({"attention_backward " + type + " " + d + (c.unordered ? ", unordered" : ""), shape,
             cost(1, dt, heads, kvHeads, dd, true), model, cost(8, 512, 32, 8, dd, true), halves},
            [&] { RL_CHECK(rl_attention_backward(gradQ, gradK, gradV, gradO, o, lse, q, k, v, cu, 0.125f, 0)); });
  }
  struct Decode {
    int64_t d, rows, pages;
  };
  for (const auto &[d, rows, pages] : {Decode{64, 4, 4}, Decode{128, 4, 4}, Decode{128, 1, 16}}) {
    constexpr int64_t page = 64, heads = 8, kvHeads = 2;
    auto cost = [](double b, double keys, double hq, double hk, double size) {
      return Cost{2 * b * keys * hk * size * 2 + 2 * 2 * b * hq * size, 4 * b * keys * hq * size};
    };
    Ints list;
    for (int i = 0; i < rows * pages; i++) list.push_back(i * 5 % (rows * pages));
    Tensor cacheK({rows * pages, page, kvHeads, d}, random_floats(rows * pages * page * kvHeads * d, 1), RL_BF16),
        cacheV({rows * pages, page, kvHeads, d}, random_floats(rows * pages * page * kvHeads * d, 2), RL_BF16),
        q({rows, heads, d}, random_floats(rows * heads * d, 3), RL_BF16), o({rows, heads, d}, RL_BF16),
        slots({rows, pages}, list),
        lengths({rows}, Ints(static_cast<size_t>(rows), static_cast<int32_t>(page * pages)));
    const double dd = static_cast<double>(d), length = static_cast<double>(page * pages);
    const std::string of = std::to_string(d);
    measure({"attention_decode bf16 " + of + (rows == 1 ? ", in pieces" : ""),
             std::to_string(rows) + " x " + std::to_string(page * pages) + ", heads 8/2 of " + of,
             cost(static_cast<double>(rows), length, heads, kvHeads, dd), "64 x 1024, heads 32/8 of " + of,
             cost(64, 1024, 32, 8, dd), true},
            [&] { RL_CHECK(rl_attention_decode(o, q, cacheK, cacheV, slots, lengths, 0.125f, 0)); });
    if (d == 64 || rows == 1) continue;
    Tensor k({rows, kvHeads, d}, random_floats(rows * kvHeads * d, 4), RL_BF16),
        at({rows}, Ints(static_cast<size_t>(rows), 63));
    Ints last;
    for (int i = 0; i < rows; i++) last.push_back(i);
    Tensor into({rows}, last);
    measure(
        {"kv_append", "4 rows, 2 heads of 128", {4.0 * 2 * 4 * 256}, "64 rows, 8 heads of 128", {4.0 * 2 * 64 * 1024}},
        [&] { RL_CHECK(rl_kv_append(cacheK, cacheV, k, k, into, at)); });
  }
}

// ---- heads

inline void head_cases(const Measure &measure) {
  constexpr int64_t t = 128, h = 256, v = 1024;
  auto cost = [](double tokens, double hidden, double vocabulary, double products, double matrices) {
    return Cost{2 * (tokens * hidden + matrices * vocabulary * hidden), 2 * products * tokens * hidden * vocabulary};
  };
  auto add = [&](const std::string &name, double products, double matrices, const std::function<void()> &run) {
    measure({name, "128 x 256, V 1024", cost(t, h, v, products, matrices), "4096 x 4096, V 128256",
             cost(4096, 4096, 128256, products, matrices), true},
            run);
  };
  Ints ids;
  for (int i = 0; i < t; i++) ids.push_back(i * 37 % v);
  Tensor x({t, h}, random_floats(t * h, 1), RL_BF16), w({v, h}, random_floats(v * h, 2, RL_F32, 0.1f), RL_BF16),
      xRef({t, h}, random_floats(t * h, 3), RL_BF16), targets({t}, ids), logp({t}), entropy({t}), lse({t}), lseRef({t}),
      kl({t}), grad({t}, random_floats(t, 4)), gradX({t, h}, RL_BF16), loss({2});
  WeightHandle weight(w, false);
  add("head_logprob", 1, 1, [&] { RL_CHECK(rl_head_logprob(logp, entropy, lse, x, weight, targets, 1)); });
  add("head_logprob_backward", 2, 1,
      [&] { RL_CHECK(rl_head_logprob_backward(gradX, nullptr, grad, nullptr, x, weight, targets, lse, nullptr, 1)); });
  add("head_cross_entropy", 2, 1,
      [&] { RL_CHECK(rl_head_cross_entropy(loss, gradX, nullptr, x, weight, targets, 1)); });
  add("head_full_kl", 2, 1, [&] { RL_CHECK(rl_head_full_kl(kl, lse, lseRef, x, weight, xRef, weight, 1)); });
  add("head_full_kl_backward", 3, 1,
      [&] { RL_CHECK(rl_head_full_kl_backward(gradX, nullptr, grad, x, weight, xRef, weight, lse, lseRef, kl, 1)); });
  Tensor score({t}), ws({h}, random_floats(h, 5)), bias({1}, Floats{0}), gradWs({h}, Floats(h)),
      gradBias({1}, Floats{0});
  measure({"scalar_head", "128 x 256 bf16", {2.0 * t * h}, "4096 x 4096", {2.0 * 4096 * 4096}},
          [&] { RL_CHECK(rl_scalar_head(score, x, ws, bias)); });
  measure({"scalar_head_backward", "128 x 256 bf16", {4.0 * t * h}, "4096 x 4096", {4.0 * 4096 * 4096}},
          [&] { RL_CHECK(rl_scalar_head_backward(gradX, gradWs, gradBias, grad, x, ws)); });
}

// ---- rows and elements

inline void row_cases(const Measure &measure) {
  constexpr int64_t t = 64, h = 1024;
  auto add = [&](const std::string &name, double bytes_of_element, const std::function<void()> &run) {
    measure({name, "64 x 1024 bf16", {bytes_of_element * t * h}, "4096 x 4096", {bytes_of_element * 4096 * 4096}}, run);
  };
  Tensor x({t, h}, random_floats(t * h, 1), RL_BF16), y({t, h}, random_floats(t * h, 2), RL_BF16),
      z({t, h}, random_floats(t * h, 3), RL_BF16), w({h}, random_floats(h, 4)), gradW({h}, Floats(h)),
      bias({h}, random_floats(h, 5)), gradBias({h}, Floats(h)), f({t, h}, random_floats(t * h, 6));
  add("rms_norm", 4, [&] { RL_CHECK(rl_rms_norm(y, x, w, 1e-5f)); });
  add("rms_norm_backward", 6, [&] { RL_CHECK(rl_rms_norm_backward(z, gradW, y, x, w, 1e-5f)); });
  add("layer_norm", 4, [&] { RL_CHECK(rl_layer_norm(y, x, w, bias, 1e-5f)); });
  add("layer_norm_backward", 6, [&] { RL_CHECK(rl_layer_norm_backward(z, gradW, gradBias, y, x, w, 1e-5f)); });
  add("swiglu", 6, [&] { RL_CHECK(rl_swiglu(y, x, z)); });
  Tensor gradGate({t, h}, RL_BF16), gradUp({t, h}, RL_BF16);
  add("swiglu_backward", 10, [&] { RL_CHECK(rl_swiglu_backward(gradGate, gradUp, y, x, z)); });
  add("gelu_tanh", 6, [&] { RL_CHECK(rl_gelu_tanh(y, x, z)); });
  add("gelu_tanh_backward", 10, [&] { RL_CHECK(rl_gelu_tanh_backward(gradGate, gradUp, y, x, z)); });
  add("add", 6, [&] { RL_CHECK(rl_add(y, x, z)); });
  add("scale", 4, [&] { RL_CHECK(rl_scale(y, x, 2)); });
  add("copy bf16 to f32", 6, [&] { RL_CHECK(rl_copy(f, x)); });
  add("fill", 2, [&] { RL_CHECK(rl_fill(y, 1)); });
  const rl_dropout dropout{0.1f, 0, 1, 2};
  add("dropout", 4, [&] { RL_CHECK(rl_dropout_apply(y, x, &dropout)); });
  Ints ids;
  for (int i = 0; i < t; i++) ids.push_back(i * 37 % t);
  Tensor index({t}, ids);
  add("embedding", 4, [&] { RL_CHECK(rl_embedding(y, x, index)); });
  add("embedding_backward", 10, [&] { RL_CHECK(rl_embedding_backward(f, y, index)); });
  add("gather_rows", 4, [&] { RL_CHECK(rl_gather_rows(y, x, index)); });
  add("gather_rows_backward", 4, [&] { RL_CHECK(rl_gather_rows_backward(z, y, index)); });
  rl_tensor heads = x.raw(), rotated = y.raw();
  for (rl_tensor *v : {&heads, &rotated}) {
    v->rank = 3;
    v->shape[1] = 8, v->shape[2] = 128;
    v->stride[1] = 128, v->stride[2] = 1;
  }
  Ints places;
  for (int i = 0; i < t; i++) places.push_back(i);
  Tensor table({t, 128}), positions({t}, places), frequencies({2, 64}, Floats(128, 0.01f));
  measure({"rope_table", "64 x 128", {4.0 * t * 128}, "4096 x 128", {4.0 * 4096 * 128}},
          [&] { RL_CHECK(rl_rope_table(table, positions, frequencies)); });
  measure({"rope",
           "64 x 8 heads of 128 bf16",
           {4.0 * t * h + 4.0 * t * 128},
           "4096 x 32 heads of 128",
           {4.0 * 4096 * 4096 + 4.0 * 4096 * 128}},
          [&] { RL_CHECK(rl_rope(&rotated, &heads, table, 0)); });
}

// ---- reinforcement learning, optimizer, sampling

inline void training_cases(const Measure &measure) {
  constexpr int64_t t = 2048, rows = 8;
  auto add = [&](const std::string &name, double tensors, const std::function<void()> &run) {
    measure({name, "2048 in 8 sequences", {tensors * 4 * t}, "4096 in 8 sequences", {tensors * 4 * 4096}}, run);
  };
  Ints starts;
  for (int i = 0; i <= rows; i++) starts.push_back(static_cast<int32_t>(i * t / rows));
  Tensor logp({t}, random_floats(t, 1)), ref({t}, random_floats(t, 2)), kl({t}), rewards({t}),
      scores({rows}, random_floats(rows, 3)), cu({rows + 1}, starts), values({t}, random_floats(t, 4)), advantages({t}),
      returns({t}), white({t}), stats({RL_PPO_STATS}), gradLogp({t}), gradValues({t});
  add("kl_penalty", 3, [&] { RL_CHECK(rl_kl_penalty(kl, logp, ref, RL_KL_K1)); });
  add("shaped_rewards", 2, [&] { RL_CHECK(rl_shaped_rewards(rewards, kl, scores, cu, 0.1f)); });
  add("gae", 4, [&] { RL_CHECK(rl_gae(advantages, returns, rewards, values, cu, 1, 0.95f)); });
  add("whiten", 2, [&] { RL_CHECK(rl_whiten(white, advantages, 1)); });
  const rl_ppo_config config{0.2f, 0.2f, 0.1f, 0, 0, 0, 1, 0};
  add("ppo_loss", 8, [&] {
    RL_CHECK(
        rl_ppo_loss(stats, gradLogp, gradValues, logp, values, nullptr, ref, values, white, returns, nullptr, &config));
  });
  Tensor chosen({64}, random_floats(64, 5)), rejected({64}, random_floats(64, 6)), gradChosen({64}), gradRejected({64}),
      pair({4});
  measure({"pairwise_loss", "64", {64.0 * 16}, "64", {64.0 * 16}},
          [&] { RL_CHECK(rl_pairwise_loss(pair, gradChosen, gradRejected, chosen, rejected, nullptr, 0, 1)); });

  constexpr int64_t n = 1 << 16;
  Tensor param({n}, random_floats(n, 7)), m({n}, Floats(n)), v({n}, Floats(n)), grad({n}, random_floats(n, 8)),
      norm({1});
  measure({"grad_norm", "65536", {4.0 * n}, "40 million", {4.0 * 40e6}}, [&] { RL_CHECK(rl_grad_norm(norm, grad)); });
  const rl_adamw_config adamw{1e-3f, 0.9f, 0.999f, 1e-8f, 0, 1, 1, 0, n};
  measure({"adamw", "65536", {32.0 * n}, "40 million", {32.0 * 40e6}},
          [&] { RL_CHECK(rl_adamw(param, nullptr, m, v, grad, norm, &adamw)); });

  constexpr int64_t vocabulary = 4096, batch = 4;
  Tensor logits({batch, vocabulary}, random_floats(batch * vocabulary, 9)), ids({batch}, Ints(batch)),
      chosen_logp({batch}), streams({batch}, Ints{0, 1, 2, 3}), steps({batch}, Ints(batch)), suppress({1}, Ints{2}),
      allow({batch}, Ints(batch, 1));
  const rl_sample_config sample{0.7f, 50, 0.9f, 0, 1};
  measure({"sample", "4 x 4096, top-k 50, top-p 0.9", {4.0 * batch * vocabulary}, "64 x 128256", {4.0 * 64 * 128256}},
          [&] { RL_CHECK(rl_sample(ids, chosen_logp, logits, streams, steps, suppress, allow, &sample)); });
}

inline void for_each_case(const Measure &measure) {
  attention_cases(measure);
  linear_cases(measure);
  lora_cases(measure);
  nf4_cases(measure);
  head_cases(measure);
  row_cases(measure);
  training_cases(measure);
}

}  // namespace rl::test
