#include "dispatch/op.h"

using namespace rl;

namespace {

struct Sides {
  const Weight &weight;
  const Weight &weightRef;
  View x;
  View xRef;
};

Sides resolve(Op &op, const rl_tensor *x, rl_weight weight, const rl_tensor *xRef, rl_weight weightRef,
              float temperature) {
  const Weight &w = op.weight("weight", weight);
  const Weight &wr = op.weight("weightRef", weightRef);
  RL_REQUIRE(w.n == wr.n, "weightRef: expected weight's vocabulary %lld, found %lld", static_cast<long long>(w.n),
             static_cast<long long>(wr.n));
  View vx = op.input("x", x).floating().shape({-1, w.k}).not_empty();
  RL_REQUIRE(vx.dtype == w.dtype, "x: expected weight's dtype %s, found %s", dtype_name(w.dtype), dtype_name(vx.dtype));
  View vr = op.input("xRef", xRef).floating().shape({vx.rows(), wr.k});
  RL_REQUIRE(vr.dtype == wr.dtype, "xRef: expected weightRef's dtype %s, found %s", dtype_name(wr.dtype),
             dtype_name(vr.dtype));
  RL_REQUIRE(temperature > 0 && temperature <= 3e38f, "temperature: expected a number above 0, found %g",
             static_cast<double>(temperature));
  return {w, wr, vx, vr};
}

}  // namespace

rl_status rl_head_full_kl(const rl_tensor *kl, const rl_tensor *lse, const rl_tensor *lseRef, const rl_tensor *x,
                          rl_weight weight, const rl_tensor *xRef, rl_weight weightRef, float temperature) {
  return call("head_full_kl", [&](Op &op) {
    const Sides s = resolve(op, x, weight, xRef, weightRef, temperature);
    const int64_t rows = s.x.rows();
    View vk = op.output("kl", kl).dtype(RL_F32).shape({rows}).dense();
    View vl = op.output("lse", lse).dtype(RL_F32).shape({rows}).dense();
    View vlr = op.output("lseRef", lseRef).dtype(RL_F32).shape({rows}).dense();
    op.no_alias();
    op.device().ops.head_full_kl(op.device(), vk, vl, vlr, s.x, s.weight, s.xRef, s.weightRef, temperature);
  });
}

rl_status rl_head_full_kl_backward(const rl_tensor *gradX, const rl_tensor *gradW, const rl_tensor *gradKl,
                                   const rl_tensor *x, rl_weight weight, const rl_tensor *xRef, rl_weight weightRef,
                                   const rl_tensor *lse, const rl_tensor *lseRef, const rl_tensor *kl,
                                   float temperature) {
  return call("head_full_kl_backward", [&](Op &op) {
    const Sides s = resolve(op, x, weight, xRef, weightRef, temperature);
    const int64_t rows = s.x.rows();
    View vg = op.input("gradKl", gradKl).dtype(RL_F32).shape({rows}).dense();
    View vl = op.input("lse", lse).dtype(RL_F32).shape({rows}).dense();
    View vlr = op.input("lseRef", lseRef).dtype(RL_F32).shape({rows}).dense();
    View vk = op.input("kl", kl).dtype(RL_F32).shape({rows}).dense();
    View vgx, vgw;
    if (gradX) vgx = op.output("gradX", gradX).floating().like(s.x);
    if (gradW) vgw = op.output("gradW", gradW).dtype(RL_F32).shape({s.weight.n, s.weight.k}).dense();
    op.no_alias();
    op.device().ops.head_full_kl_backward(op.device(), vgx, vgw, vg, s.x, s.weight, s.xRef, s.weightRef, vl, vlr, vk,
                                          temperature);
  });
}
