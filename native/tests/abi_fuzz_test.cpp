// The ABI from outside: the layout of its structs, null and garbage for every op, whatever lies in the tensors.
#include "support.h"

namespace rl::test {
namespace {

rl_tensor tensor(rl_buffer buffer, int32_t dtype, const std::vector<int64_t> &shape, int64_t offset = 0) {
  rl_tensor t{};
  t.buffer = buffer;
  t.offset = offset;
  t.dtype = dtype;
  t.rank = static_cast<int32_t>(shape.size());
  int64_t stride = 1;
  for (int i = t.rank - 1; i >= 0; i--) {
    t.shape[i] = shape[static_cast<size_t>(i)];
    t.stride[i] = stride;
    stride *= t.shape[i];
  }
  return t;
}

TEST(AbiLibrary, StructsHaveTheLayoutThatJavaWrites) {
  EXPECT_EQ(sizeof(rl_tensor), 88u);
  EXPECT_EQ(offsetof(rl_tensor, shape), 24u);
  EXPECT_EQ(offsetof(rl_tensor, stride), 56u);
  EXPECT_EQ(sizeof(rl_nf4), 16u + 5 * sizeof(rl_tensor));
  EXPECT_EQ(sizeof(rl_dropout), 24u);
  EXPECT_EQ(sizeof(rl_lora_segment), 24u + 4 * sizeof(rl_tensor));
  EXPECT_EQ(sizeof(rl_lora), 56u + sizeof(rl_tensor));
  EXPECT_EQ(sizeof(rl_ppo_config), 32u);
  EXPECT_EQ(sizeof(rl_adamw_config), 40u);
  EXPECT_EQ(sizeof(rl_advantages_config), 20u);
  EXPECT_EQ(sizeof(rl_sample_config), 24u);
}

TEST(AbiHandles, PackedWeightOutlivesItsTensorAViewDoesNot) {
  Tensor x({2, 8}, Floats(16, 1.0f)), y({2, 4});
  rl_buffer b = 0;
  RL_CHECK(rl_buffer_alloc(&b, device(), 4 * 8 * 4));
  const rl_tensor w = tensor(b, RL_F32, {4, 8});
  RL_CHECK(rl_fill(&w, 2));
  rl_weight packed = 0, view = 0;
  RL_CHECK(rl_weight_pack(&packed, &w, 0));
  RL_CHECK(rl_weight_view(&view, &w));
  RL_CHECK(rl_fill(&w, 3));
  RL_CHECK(rl_linear(y, x, packed, nullptr, 0));
  EXPECT_EQ(y.get(), Floats(8, 16.0f));
  RL_CHECK(rl_linear(y, x, view, nullptr, 0));
  EXPECT_EQ(y.get(), Floats(8, 24.0f));
  RL_CHECK(rl_buffer_free(b));
  RL_CHECK(rl_linear(y, x, packed, nullptr, 0));
  EXPECT_EQ(y.get(), Floats(8, 16.0f));
  expect_error(rl_linear(y, x, view, nullptr, 0), RL_INVALID_HANDLE, {"linear", "weight", "closed"});
  RL_CHECK(rl_weight_free(packed));
  RL_CHECK(rl_weight_free(view));
}

TEST(AbiTensors, OverlapIsFoundAmongManyTensorsToo) {
  // More LoRA segments than any fixed table of tensors holds, the last two with the same gradient.
  const int n = 12;
  const int64_t r = 2, k = 4, width = 3;
  Tensor x({n, k}, Floats(n * k, 1.0f)), gy({n, width}, Floats(n * width, 1.0f)), h({n, r}, Floats(n * r, 1.0f));
  Tensor a({r, k}, Floats(r * k, 1.0f)), b({width, r}, Floats(width * r, 1.0f));
  Tensor ga({n, r, k}, Floats(n * r * k, 0.0f)), gb({n, width, r}, Floats(n * width * r, 0.0f));
  std::vector<rl_lora_segment> segments(n);
  for (int i = 0; i < n; i++) {
    rl_lora_segment &s = segments[static_cast<size_t>(i)];
    s = {i, i + 1, 1.0f, 0, *static_cast<const rl_tensor *>(a), *static_cast<const rl_tensor *>(b), {}, {}};
    s.gradA = tensor(static_cast<const rl_tensor *>(ga)->buffer, RL_F32, {r, k}, i * r * k * 4);
    s.gradB = tensor(static_cast<const rl_tensor *>(gb)->buffer, RL_F32, {width, r}, i * width * r * 4);
  }
  const Tensor matrix({width, k}, Floats(width * k, 1.0f));
  const WeightHandle w(matrix, true);
  const rl_lora lora{0, width, *static_cast<const rl_tensor *>(h), segments.data(), n, 0, {}};
  RL_CHECK(rl_lora_linear_backward(nullptr, gy, x, w, &lora, 1));
  segments[n - 1].gradB = segments[n - 2].gradB;
  expect_error(rl_lora_linear_backward(nullptr, gy, x, w, &lora, 1), RL_INVALID_ARGUMENT, {"gradB", "overlaps"});
  segments[n - 1].gradB = segments[n - 1].b;
  expect_error(rl_lora_linear_backward(nullptr, gy, x, w, &lora, 1), RL_INVALID_ARGUMENT, {"gradB", "overlaps"});
}

TEST(AbiNull, Everywhere) {
  const rl_weight w = 0;
  const rl_ppo_config ppo{0.2f, 0.2f, 0.1f, 0, 0, 0, 1, 0};
  const rl_adamw_config adamw{1e-3f, 0.9f, 0.999f, 1e-8f, 0, 0, 1, 0, 0};
  const rl_advantages_config advantages{0.1f, 1, 0.95f, 1, 1};
  const rl_sample_config sample{1, 0, 1, 0, 0};
  const rl_tensor *z = nullptr;
  const std::vector<rl_status> all = {rl_copy_from_host(z, nullptr, 0),
                                      rl_copy_to_host(nullptr, z, 0),
                                      rl_copy(z, z),
                                      rl_fill(z, 0),
                                      rl_add(z, z, z),
                                      rl_scale(z, z, 1),
                                      rl_embedding(z, z, z),
                                      rl_embedding_backward(z, z, z),
                                      rl_gather_rows(z, z, z),
                                      rl_gather_rows_backward(z, z, z),
                                      rl_rms_norm(z, z, z, 0),
                                      rl_rms_norm_backward(z, z, z, z, z, 0),
                                      rl_layer_norm(z, z, z, z, 0),
                                      rl_layer_norm_backward(z, z, z, z, z, z, 0),
                                      rl_rope_table(z, z, z),
                                      rl_rope(z, z, z, 0),
                                      rl_swiglu(z, z, z),
                                      rl_swiglu_backward(z, z, z, z, z),
                                      rl_gelu_tanh(z, z, z),
                                      rl_gelu_tanh_backward(z, z, z, z, z),
                                      rl_weight_pack(nullptr, z, 0),
                                      rl_weight_view(nullptr, z),
                                      rl_linear_backward_weight(z, z, z, z),
                                      rl_nf4_quantize(nullptr, z),
                                      rl_nf4_dequantize(z, nullptr),
                                      rl_weight_pack_nf4(nullptr, nullptr, 1, RL_F32),
                                      rl_dropout_apply(z, z, nullptr),
                                      rl_attention(z, z, z, z, z, z, 1, 0),
                                      rl_attention_backward(z, z, z, z, z, z, z, z, z, z, 1, 0),
                                      rl_kv_append(z, z, z, z, z, z),
                                      rl_attention_decode(z, z, z, z, z, z, 1, 0),
                                      rl_scalar_head(z, z, z, z),
                                      rl_scalar_head_backward(z, z, z, z, z, z),
                                      rl_kl_penalty(z, z, z, 0),
                                      rl_shaped_rewards(z, z, z, z, 0),
                                      rl_gae(z, z, z, z, z, 1, 1),
                                      rl_whiten(z, z, 1),
                                      rl_advantages(z, z, z, z, z, z, z, &advantages),
                                      rl_advantages(z, z, z, z, z, z, z, nullptr),
                                      rl_ppo_loss(z, z, z, z, z, z, z, z, z, z, z, &ppo),
                                      rl_ppo_loss(z, z, z, z, z, z, z, z, z, z, z, nullptr),
                                      rl_pairwise_loss(z, z, z, z, z, z, 0, 1),
                                      rl_grad_norm(z, z),
                                      rl_adamw(z, z, z, z, z, z, &adamw),
                                      rl_adamw(z, z, z, z, z, z, nullptr),
                                      rl_sample(z, z, z, z, z, z, z, &sample),
                                      rl_sample(z, z, z, z, z, z, z, nullptr)};
  for (size_t i = 0; i < all.size(); i++) EXPECT_EQ(all[i], RL_INVALID_ARGUMENT) << i;
  const std::vector<rl_status> with_weight = {rl_linear(z, z, w, z, 0),
                                              rl_lora_linear(z, z, w, z, nullptr, 1),
                                              rl_lora_linear_backward(z, z, z, w, nullptr, 1),
                                              rl_weight_rows(z, w, z),
                                              rl_linear_backward_input(z, z, w, 0),
                                              rl_head_logprob(z, z, z, z, w, z, 1),
                                              rl_head_logprob_backward(z, z, z, z, z, w, z, z, z, 1),
                                              rl_head_cross_entropy(z, z, z, z, w, z, 1),
                                              rl_head_full_kl(z, z, z, z, w, z, w, 1),
                                              rl_head_full_kl_backward(z, z, z, z, w, z, w, z, z, z, 1)};
  for (size_t i = 0; i < with_weight.size(); i++) {
    EXPECT_TRUE(with_weight[i] == RL_INVALID_ARGUMENT || with_weight[i] == RL_INVALID_HANDLE) << i;
  }
}

/// Garbage that is nearly right: such gets past the first checks.
struct Fuzz {
  std::mt19937_64 engine;
  std::vector<rl_buffer> buffers;
  std::vector<rl_weight> weights;

  int64_t below(int64_t n) { return static_cast<int64_t>(engine() % static_cast<uint64_t>(n)); }

  int64_t number() {
    switch (below(12)) {
      case 0:
        return static_cast<int64_t>(engine());
      case 1:
        return -below(5);
      case 2:
        return int64_t{1} << below(63);
      case 3:
        return INT64_MAX - below(3);
      case 4:
        return 0;
      default:
        return 1 + below(9);
    }
  }

  rl_tensor garbage() {
    rl_tensor t{};
    t.buffer = below(20) ? buffers[static_cast<size_t>(below(static_cast<int64_t>(buffers.size())))] : engine();
    t.offset = below(3) ? below(64) * 4 : number();
    t.dtype = below(20) ? static_cast<int32_t>(below(5)) : static_cast<int32_t>(engine());
    t.rank = below(20) ? static_cast<int32_t>(below(5)) : static_cast<int32_t>(engine());
    int64_t stride = 1;
    for (int i = RL_MAX_RANK - 1; i >= 0; i--) {
      t.shape[i] = below(30) ? 1 + below(4) : number();
      t.stride[i] = below(30) ? stride : number();
      if (i < t.rank) stride = static_cast<int64_t>(static_cast<uint64_t>(stride) * static_cast<uint64_t>(t.shape[i]));
      if (i == 0 && !below(4)) t.stride[i] = static_cast<int64_t>(static_cast<uint64_t>(t.stride[i]) + 3);
    }
    return t;
  }

  /// Often a well-formed tensor of small size, in memory of its own.
  rl_tensor any(int32_t dtype, const std::vector<int64_t> &shape) {
    if (!below(8)) return garbage();
    return tensor(buffers[static_cast<size_t>(below(static_cast<int64_t>(buffers.size())))],
                  below(10) ? dtype : static_cast<int32_t>(below(5)), shape, below(40) * 256);
  }

  rl_weight weight() {
    return below(10) ? weights[static_cast<size_t>(below(static_cast<int64_t>(weights.size())))] : engine();
  }
  float real() { return below(10) ? static_cast<float>(below(300)) / 100 : below(2) ? -1.0f : NAN; }
};

TEST(AbiFuzz, GarbageIsRefusedNeverFollowed) {
  rl_device d = 0;
  RL_CHECK(rl_device_open(&d, "cpu", 0, 2));
  Fuzz f{std::mt19937_64(20240517), {}, {}};
  // What lies in the buffers is garbage too: it is read as ids, lengths, positions, numbers.
  std::vector<uint32_t> noise(16384 / 4);
  for (int i = 0; i < 24; i++) {
    rl_buffer b = 0;
    RL_CHECK(rl_buffer_alloc(&b, d, 16384));
    for (uint32_t &v : noise) {
      const int64_t kind = i % 4 == 3 ? 0 : f.below(40);
      v = kind == 0 ? static_cast<uint32_t>(f.engine()) : kind < 30 ? static_cast<uint32_t>(f.below(4)) : 0x3f800000u;
    }
    const rl_tensor t = tensor(b, RL_I32, {16384 / 4});
    RL_CHECK(rl_copy_from_host(&t, noise.data(), 16384));
    f.buffers.push_back(b);
  }
  for (int32_t dtype : {RL_F32, RL_BF16}) {
    const rl_tensor w = tensor(f.buffers[0], dtype, {3, 4});
    rl_weight packed = 0, view = 0;
    RL_CHECK(rl_weight_pack(&packed, &w, 1));
    RL_CHECK(rl_weight_view(&view, &w));
    f.weights.push_back(packed);
    f.weights.push_back(view);
    rl_nf4 four{};
    four.rows = 3, four.cols = 4;
    four.codes = tensor(f.buffers[1], RL_U8, {6});
    four.absmax = tensor(f.buffers[2], RL_F32, {1});
    rl_weight nf4 = 0;
    RL_CHECK(rl_weight_pack_nf4(&nf4, &four, 1, dtype));
    f.weights.push_back(nf4);
  }
  int64_t ok = 0, refused = 0;
  for (int round = 0; round < 40000; round++) {
    const int32_t t = f.below(2) ? RL_F32 : RL_BF16;
    const int64_t T = 1 + f.below(4), H = 4, V = 3, hkv = 1 + f.below(2), hq = hkv * (1 + f.below(2)),
                  D = 2 * (1 + f.below(3));
    auto m = [&](int32_t dtype, std::vector<int64_t> shape) { return f.any(dtype, shape); };
    auto maybe = [&](const rl_tensor &x) -> const rl_tensor * { return f.below(6) ? &x : nullptr; };
    // Named for the shapes they usually have.
    const rl_tensor xh = m(t, {T, H}), yh = m(t, {T, H}), zh = m(t, {T, H}), gh = m(t, {T, H}), qh = m(t, {T, H});
    const rl_tensor yv = m(t, {T, V}), wv = m(t, {V, H}), gw = m(RL_F32, {V, H}), vh = m(RL_F32, {H}),
                    wh = m(RL_F32, {H}), bh = m(RL_F32, {H}), sv = m(RL_F32, {V});
    const rl_tensor it = m(RL_I32, {T}), jt = m(RL_I32, {T}), cu = m(RL_I32, {2 + f.below(2)}),
                    iv = m(RL_I32, {f.below(3)}), pages = m(RL_I32, {T, f.below(4)});
    const rl_tensor at = m(RL_F32, {T}), bt = m(RL_F32, {T}), ct = m(RL_F32, {T}), dt = m(RL_F32, {T}),
                    et = m(RL_F32, {T});
    const rl_tensor ft = m(RL_F32, {T}), gt = m(RL_F32, {T}), ht = m(RL_F32, {T}), xt = m(RL_F32, {T}),
                    one = m(RL_F32, {1}), stats = m(RL_F32, {16});
    const rl_tensor rounded = m(RL_BF16, {T});
    const rl_tensor q = m(t, {T, hq, D}), k = m(t, {T, hkv, D}), v = m(t, {T, hkv, D}), o = m(t, {T, hq, D}),
                    go = m(t, {T, hq, D});
    const rl_tensor gq = m(t, {T, hq, D}), gk = m(t, {T, hkv, D}), gv = m(t, {T, hkv, D}), lse = m(RL_F32, {hq, T});
    const rl_tensor ck = m(t, {2, 3, hkv, D}), cv = m(t, {2, 3, hkv, D}), table = m(RL_F32, {T, D}),
                    freq = m(RL_F32, {2, D / 2});
    const rl_weight w = f.weight(), w2 = f.weight();
    const float p = f.real(), s = f.real();
    const int32_t window = f.below(8) ? static_cast<int32_t>(f.below(3)) : static_cast<int32_t>(f.engine());
    const rl_dropout drop{f.below(2) ? 0.5f : p, 0, f.engine(), f.engine()};
    std::vector<rl_lora_segment> segments(static_cast<size_t>(f.below(3)));
    for (rl_lora_segment &g : segments) {
      g = {f.below(3), f.below(4), p, 0, m(RL_F32, {2, H}), m(RL_F32, {V, 2}), m(RL_F32, {2, H}), m(RL_F32, {V, 2})};
    }
    const int32_t n = static_cast<int32_t>(segments.size());
    const rl_tensor hr = m(RL_F32, {T, 2});
    rl_lora loras[2] = {{0, V, hr, segments.data(), n, 0, {}}, {V, V, hr, segments.data(), n, 0, drop}};
    if (f.below(2)) loras[0].dropout = drop;
    for (rl_lora &lora : loras) {
      if (!f.below(4)) lora.from = f.below(2) ? f.below(4) : f.number();
      if (!f.below(4)) lora.to = f.below(2) ? f.below(4) : f.number();
      if (!f.below(8)) lora.count = static_cast<int32_t>(f.below(2) ? -f.below(3) : 1025);  // both refused
      if (!f.below(8)) lora.segments = nullptr;
    }
    const int32_t count = static_cast<int32_t>(f.below(4) ? f.below(2) : f.below(2) ? 2 : -1);
    const bool doubled = f.below(2);
    rl_nf4 four{f.below(10) ? V : f.number(), f.below(10) ? H : f.number(), m(RL_U8, {V * H / 2}), {}, {}, {}, {}};
    four.absmax = m(doubled ? RL_U8 : RL_F32, {1});
    if (doubled) {
      four.nestedCode = m(RL_F32, {256});
      four.nestedAbsmax = m(RL_F32, {1});
      four.offset = m(RL_F32, {1});
    }
    const rl_ppo_config ppo{p, s, f.real(), f.real(), f.real(), f.real(), f.real(), 0};
    const rl_adamw_config adamw{p,
                                0.9f,
                                0.999f,
                                1e-8f,
                                s,
                                f.real(),
                                static_cast<int32_t>(f.below(4)),
                                0,
                                static_cast<int64_t>(f.below(20)) - 1};
    const rl_advantages_config advantages{p, s, f.real(), static_cast<int32_t>(f.below(2)),
                                          static_cast<int32_t>(f.below(2))};
    const rl_sample_config sample{p, static_cast<int32_t>(f.below(5)) - 1, f.below(2) ? 1.0f : s, 0, f.engine()};
    rl_status status = RL_INTERNAL;
    switch (f.below(49)) {
      case 0:
        status = rl_copy(&xh, &yh);
        break;
      case 1:
        status = rl_fill(&xh, f.below(3));
        break;
      case 2:
        status = rl_add(&xh, &yh, &zh);
        break;
      case 3:
        status = rl_embedding(&yh, &wv, &it);
        break;
      case 4:
        status = rl_embedding_backward(&gw, &yh, &it);
        break;
      case 5:
        status = rl_gather_rows(&yh, &xh, &it);
        break;
      case 6:
        status = rl_gather_rows_backward(&yh, &xh, &it);
        break;
      case 7:
        status = rl_rms_norm(&yh, &xh, &vh, p);
        break;
      case 8:
        status = rl_rms_norm_backward(&yh, maybe(sv), &xh, &zh, &vh, p);
        break;
      case 9:
        status = rl_rope_table(&table, &it, &freq);
        break;
      case 10:
        status = rl_rope(&q, &o, &table, window);
        break;
      case 11:
        status = rl_swiglu(&xh, &yh, &zh);
        break;
      case 12:
        status = rl_swiglu_backward(&xh, &yh, &zh, &gh, &qh);
        break;
      case 13:
        status = rl_linear(&yv, &xh, w, maybe(sv), window);
        break;
      case 14:
        status = rl_linear_backward_input(&xh, &yv, w, window);
        break;
      case 15:
        status = rl_linear_backward_weight(&gw, maybe(sv), &yv, &xh);
        break;
      case 16:
        status = rl_lora_linear(&yv, &xh, w, maybe(sv), f.below(8) ? loras : nullptr, count);
        break;
      case 17:
        status = rl_lora_linear_backward(maybe(yh), &yv, &xh, w, f.below(8) ? loras : nullptr, count);
        break;
      case 18:
        status = rl_dropout_apply(&yh, &xh, &drop);
        break;
      case 19:
        status = rl_attention(&o, &lse, &q, &k, &v, &cu, p, window);
        break;
      case 20:
        status = rl_attention_backward(&gq, &gk, &gv, &go, &o, &lse, &q, &k, &v, &cu, p, window);
        break;
      case 21:
        status = rl_kv_append(&ck, &cv, &k, &v, &it, &jt);
        break;
      case 22:
        status = rl_attention_decode(&o, &q, &ck, &cv, f.below(2) ? &it : &pages, &jt, p, window);
        break;
      case 23:
        status = rl_head_logprob(&at, maybe(bt), &ct, &xh, w, &it, p);
        break;
      case 24:
        status = rl_head_logprob_backward(maybe(yh), maybe(gw), &at, maybe(bt), &xh, w, &it, &ct, maybe(dt), p);
        break;
      case 25:
        status = rl_head_cross_entropy(&one, maybe(yh), maybe(gw), &xh, w, &it, p);
        break;
      case 26:
        status = rl_head_full_kl(&at, &bt, &ct, &xh, w, &zh, w2, p);
        break;
      case 27:
        status = rl_head_full_kl_backward(maybe(yh), maybe(gw), &at, &xh, w, &zh, w2, &bt, &ct, &dt, p);
        break;
      case 28:
        status = rl_scalar_head(&at, &xh, &vh, maybe(one));
        break;
      case 29:
        status = rl_scalar_head_backward(maybe(yh), maybe(vh), maybe(one), &at, &xh, &vh);
        break;
      case 30:
        status = rl_kl_penalty(&at, &bt, &ct, static_cast<int32_t>(f.below(6)) - 1);
        break;
      case 31:
        status = rl_shaped_rewards(&at, &bt, &ct, &cu, p);
        break;
      case 32:
        status = rl_gae(&at, &bt, &ct, &dt, &cu, p, s);
        break;
      case 33:
        status = rl_whiten(&at, f.below(2) ? &at : &bt, window);
        break;
      case 34:
        status = rl_ppo_loss(&stats, &at, &bt, &ct, &et, maybe(xt), &dt, &ft, &gt, &ht, maybe(it), &ppo);
        break;
      case 35:
        status = rl_pairwise_loss(&stats, &at, &bt, &ct, &dt, maybe(et), p, s);
        break;
      case 36:
        status = rl_grad_norm(&one, &xh);
        break;
      case 37:
        status = rl_adamw(&at, maybe(rounded), &bt, &ct, &dt, maybe(one), &adamw);
        break;
      case 38:
        status = rl_sample(&it, maybe(at), &gw, &jt, &cu, maybe(iv), maybe(jt), &sample);
        break;
      case 39:
        status = rl_nf4_quantize(&four, &wv);
        break;
      case 40:
        status = rl_nf4_dequantize(&wv, &four);
        break;
      case 41: {
        const std::vector<rl_nf4> joined(2, four);
        rl_weight packed = 0;
        status = rl_weight_pack_nf4(&packed, joined.data(), static_cast<int32_t>(f.below(3)), t);
        if (status == RL_OK) {
          const rl_tensor wide = m(t, {T, V * (1 + f.below(2))});
          rl_linear(&wide, &xh, packed, nullptr, 0);
          RL_CHECK(rl_weight_free(packed));
        }
        break;
      }
      case 42:
        status = rl_scale(&xh, &yh, p);
        break;
      case 43:
        status = rl_layer_norm(&yh, &xh, &vh, &wh, p);
        break;
      case 44:
        status = rl_layer_norm_backward(&yh, maybe(wh), maybe(bh), &xh, &zh, &vh, p);
        break;
      case 45:
        status = rl_gelu_tanh(&xh, &yh, maybe(zh));
        break;
      case 46:
        status = rl_gelu_tanh_backward(&xh, maybe(yh), &zh, &gh, maybe(qh));
        break;
      case 47:
        status = rl_advantages(&at, &bt, &ct, &dt, &et, &ft, &cu, &advantages);
        break;
      default: {
        std::vector<char> host(64);
        const int64_t bytes = f.below(2) ? 64 : -f.below(4);
        status = f.below(2) ? rl_copy_from_host(&at, host.data(), bytes) : rl_copy_to_host(host.data(), &at, bytes);
      }
    }
    ASSERT_TRUE(status == RL_OK || status == RL_INVALID_ARGUMENT || status == RL_INVALID_HANDLE ||
                status == RL_OUT_OF_MEMORY)
        << "round " << round << ": " << status << " " << rl_last_error();
    (status == RL_OK ? ok : refused)++;
  }
  EXPECT_GT(ok, 1500);  // the garbage is good enough to reach kernels
  EXPECT_GT(refused, 1500);
  RL_CHECK(rl_device_close(d));
}

}  // namespace
}  // namespace rl::test
