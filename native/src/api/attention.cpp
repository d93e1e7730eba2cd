#include "dispatch/op.h"

using namespace rl;

namespace {

struct Shapes {
  View q, k, v, cu;
};

Shapes packed_inputs(Op &op, const rl_tensor *q, const rl_tensor *k, const rl_tensor *v, const rl_tensor *cu_seqlens) {
  Shapes s;
  s.q = op.input("q", q).floating_or_f16().rank(3).not_empty();
  s.k = op.input("k", k).dtype(s.q.dtype).not_empty().shape({s.q.rows(), -1, s.q.shape[2]});
  s.v = op.input("v", v).dtype(s.q.dtype).like(s.k);
  RL_REQUIRE(s.q.shape[1] % s.k.shape[1] == 0, "q: expected a multiple of the %lld key heads, found %lld",
             static_cast<long long>(s.k.shape[1]), static_cast<long long>(s.q.shape[1]));
  s.cu = op.input("cu_seqlens", cu_seqlens).dtype(RL_I32).rank(1).dense();
  RL_REQUIRE(s.cu.elements() >= 2, "cu_seqlens: expected at least 2 elements, found %lld",
             static_cast<long long>(s.cu.elements()));
  return s;
}

void check_window(int32_t window) { RL_REQUIRE(window >= 0, "window: expected 0 or more, found %d", window); }

}  // namespace

rl_status rl_attention(const rl_tensor *o, const rl_tensor *lse, const rl_tensor *q, const rl_tensor *k,
                       const rl_tensor *v, const rl_tensor *cu_seqlens, float scale, int32_t window) {
  return call("attention", [&](Op &op) {
    Shapes s = packed_inputs(op, q, k, v, cu_seqlens);
    View vo = op.output("o", o).dtype(s.q.dtype).like(s.q);
    View vl = op.output("lse", lse).dtype(RL_F32).shape({s.q.shape[1], s.q.rows()}).dense();
    check_window(window);
    op.no_alias();
    op.device().ops.attention(op.device(), vo, vl, s.q, s.k, s.v, s.cu, scale, window);
  });
}

rl_status rl_attention_backward(const rl_tensor *gradQ, const rl_tensor *gradK, const rl_tensor *gradV,
                                const rl_tensor *gradO, const rl_tensor *o, const rl_tensor *lse, const rl_tensor *q,
                                const rl_tensor *k, const rl_tensor *v, const rl_tensor *cu_seqlens, float scale,
                                int32_t window) {
  return call("attention_backward", [&](Op &op) {
    Shapes s = packed_inputs(op, q, k, v, cu_seqlens);
    View vgq = op.output("gradQ", gradQ).dtype(s.q.dtype).like(s.q);
    View vgk = op.output("gradK", gradK).dtype(s.q.dtype).like(s.k);
    View vgv = op.output("gradV", gradV).dtype(s.q.dtype).like(s.k);
    View vgo = op.input("gradO", gradO).dtype(s.q.dtype).like(s.q);
    View vo = op.input("o", o).dtype(s.q.dtype).like(s.q);
    View vl = op.input("lse", lse).dtype(RL_F32).shape({s.q.shape[1], s.q.rows()}).dense();
    check_window(window);
    op.no_alias();
    op.device().ops.attention_backward(op.device(), vgq, vgk, vgv, vgo, vo, vl, s.q, s.k, s.v, s.cu, scale, window);
  });
}
