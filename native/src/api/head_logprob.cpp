#include "dispatch/op.h"

using namespace rl;

static void require_dtype_of_weight(const char *name, const View &view, const Weight &w) {
  RL_REQUIRE(view.dtype == w.dtype, "%s: expected weight's dtype %s, found %s", name, dtype_name(w.dtype),
             dtype_name(view.dtype));
}

static void require_temperature(float temperature) {
  RL_REQUIRE(temperature > 0 && temperature <= 3e38f, "temperature: expected a number above 0, found %g",
             static_cast<double>(temperature));
}

rl_status rl_head_logprob(const rl_tensor *logp, const rl_tensor *entropy, const rl_tensor *lse, const rl_tensor *x,
                          rl_weight weight, const rl_tensor *targets, float temperature) {
  return call("head_logprob", [&](Op &op) {
    const Weight &w = op.weight("weight", weight);
    View vx = op.input("x", x).floating().shape({-1, w.k}).not_empty();
    require_dtype_of_weight("x", vx, w);
    View vt = op.input("targets", targets).dtype(RL_I32).shape({vx.rows()}).dense();
    View vp = op.output("logp", logp).dtype(RL_F32).shape({vx.rows()}).dense();
    View vl = op.output("lse", lse).dtype(RL_F32).shape({vx.rows()}).dense();
    View ve;
    if (entropy) ve = op.output("entropy", entropy).dtype(RL_F32).shape({vx.rows()}).dense();
    require_temperature(temperature);
    op.no_alias();
    op.device().ops.head_logprob(op.device(), vp, ve, vl, vx, w, vt, temperature);
  });
}

rl_status rl_head_logprob_backward(const rl_tensor *gradX, const rl_tensor *gradW, const rl_tensor *gradLogp,
                                   const rl_tensor *gradEntropy, const rl_tensor *x, rl_weight weight,
                                   const rl_tensor *targets, const rl_tensor *lse, const rl_tensor *entropy,
                                   float temperature) {
  return call("head_logprob_backward", [&](Op &op) {
    const Weight &w = op.weight("weight", weight);
    View vx = op.input("x", x).floating().shape({-1, w.k}).not_empty();
    require_dtype_of_weight("x", vx, w);
    const int64_t rows = vx.rows();
    View vt = op.input("targets", targets).dtype(RL_I32).shape({rows}).dense();
    View vg = op.input("gradLogp", gradLogp).dtype(RL_F32).shape({rows}).dense();
    View vl = op.input("lse", lse).dtype(RL_F32).shape({rows}).dense();
    RL_REQUIRE(!gradEntropy == !entropy, "gradEntropy, entropy: expected both or neither, found %s alone",
               gradEntropy ? "gradEntropy" : "entropy");
    View vge, ve, vgx, vgw;
    if (gradEntropy) vge = op.input("gradEntropy", gradEntropy).dtype(RL_F32).shape({rows}).dense();
    if (entropy) ve = op.input("entropy", entropy).dtype(RL_F32).shape({rows}).dense();
    if (gradX) vgx = op.output("gradX", gradX).floating().like(vx);
    if (gradW) vgw = op.output("gradW", gradW).dtype(RL_F32).shape({w.n, w.k}).dense();
    require_temperature(temperature);
    op.no_alias();
    op.device().ops.head_logprob_backward(op.device(), vgx, vgw, vg, vge, vx, w, vt, vl, ve, temperature);
  });
}
