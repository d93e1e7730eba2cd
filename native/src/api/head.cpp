// head_logprob, head_cross_entropy, head_full_kl and their backwards.
#include "dispatch/op.h"

using namespace rl;

namespace {

View head_input(Op &op, const char *name, const rl_tensor *x, const Weight &w) {
  View v = op.input(name, x).not_empty().shape({-1, w.k});
  RL_REQUIRE(v.dtype == w.dtype, "%s: expected the weight's dtype %s, found %s", name, dtype_name(w.dtype),
             dtype_name(v.dtype));
  return v;
}

View per_token(Op &op, const char *name, const rl_tensor *t, const View &x, bool output) {
  return (output ? op.output(name, t) : op.input(name, t)).dtype(RL_F32).shape({x.rows()}).dense();
}

View grad_input(Op &op, const rl_tensor *gradX, const View &x) {
  return gradX ? View(op.output("gradX", gradX).dtype(x.dtype).like(x)) : View();
}

View grad_weight(Op &op, const rl_tensor *gradW, const Weight &w) {
  return gradW ? View(op.output("gradW", gradW).dtype(RL_F32).shape({w.n, w.k}).dense()) : View();
}

void check_temperature(float t) {
  RL_REQUIRE(t > 0, "temperature: expected more than 0, found %g", static_cast<double>(t));
}

}  // namespace

rl_status rl_head_logprob(const rl_tensor *logp, const rl_tensor *entropy, const rl_tensor *lse, const rl_tensor *x,
                          rl_weight weight, const rl_tensor *targets, float temperature) {
  return call("head_logprob", [&](Op &op) {
    const Weight &w = op.weight("weight", weight);
    View vx = head_input(op, "x", x, w);
    View vt = op.input("targets", targets).dtype(RL_I32).shape({vx.rows()}).dense();
    View vp = per_token(op, "logp", logp, vx, true);
    View vl = per_token(op, "lse", lse, vx, true);
    View ve;
    if (entropy) ve = per_token(op, "entropy", entropy, vx, true);
    check_temperature(temperature);
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
    View vx = head_input(op, "x", x, w);
    View vgx = grad_input(op, gradX, vx), vgw = grad_weight(op, gradW, w);
    View vgl = per_token(op, "gradLogp", gradLogp, vx, false);
    View vt = op.input("targets", targets).dtype(RL_I32).shape({vx.rows()}).dense();
    View vl = per_token(op, "lse", lse, vx, false);
    RL_REQUIRE(!gradEntropy == !entropy, "gradEntropy, entropy: expected both or neither, found one");
    View vge, ve;
    if (entropy) {
      vge = per_token(op, "gradEntropy", gradEntropy, vx, false);
      ve = per_token(op, "entropy", entropy, vx, false);
    }
    check_temperature(temperature);
    op.no_alias();
    op.device().ops.head_logprob_backward(op.device(), vgx, vgw, vgl, vge, vx, w, vt, vl, ve, temperature);
  });
}

rl_status rl_head_cross_entropy(const rl_tensor *loss, const rl_tensor *gradX, const rl_tensor *gradW,
                                const rl_tensor *x, rl_weight weight, const rl_tensor *targets, float gradScale) {
  return call("head_cross_entropy", [&](Op &op) {
    const Weight &w = op.weight("weight", weight);
    View vx = head_input(op, "x", x, w);
    View vgx = grad_input(op, gradX, vx), vgw = grad_weight(op, gradW, w);
    View vt = op.input("targets", targets).dtype(RL_I32).shape({vx.rows()}).dense();
    View vl = op.output("loss", loss).dtype(RL_F32).shape({2}).dense();
    op.no_alias();
    op.device().ops.head_cross_entropy(op.device(), vl, vgx, vgw, vx, w, vt, gradScale);
  });
}

rl_status rl_head_full_kl(const rl_tensor *kl, const rl_tensor *lse, const rl_tensor *lseRef, const rl_tensor *x,
                          rl_weight weight, const rl_tensor *xRef, rl_weight weightRef, float temperature) {
  return call("head_full_kl", [&](Op &op) {
    const Weight &w = op.weight("weight", weight);
    const Weight &wr = op.weight("weightRef", weightRef);
    RL_REQUIRE(w.n == wr.n, "weightRef: expected the weight's %lld rows, found %lld", static_cast<long long>(w.n),
               static_cast<long long>(wr.n));
    View vx = head_input(op, "x", x, w), vr = head_input(op, "xRef", xRef, wr);
    RL_REQUIRE(vx.rows() == vr.rows(), "xRef: expected x's %lld rows, found %lld", static_cast<long long>(vx.rows()),
               static_cast<long long>(vr.rows()));
    View vk = per_token(op, "kl", kl, vx, true), vl = per_token(op, "lse", lse, vx, true);
    View vlr = per_token(op, "lseRef", lseRef, vx, true);
    check_temperature(temperature);
    op.no_alias();
    op.device().ops.head_full_kl(op.device(), vk, vl, vlr, vx, w, vr, wr, temperature);
  });
}

rl_status rl_head_full_kl_backward(const rl_tensor *gradX, const rl_tensor *gradW, const rl_tensor *gradKl,
                                   const rl_tensor *x, rl_weight weight, const rl_tensor *xRef, rl_weight weightRef,
                                   const rl_tensor *lse, const rl_tensor *lseRef, const rl_tensor *kl,
                                   float temperature) {
  return call("head_full_kl_backward", [&](Op &op) {
    const Weight &w = op.weight("weight", weight);
    const Weight &wr = op.weight("weightRef", weightRef);
    RL_REQUIRE(w.n == wr.n, "weightRef: expected the weight's %lld rows, found %lld", static_cast<long long>(w.n),
               static_cast<long long>(wr.n));
    View vx = head_input(op, "x", x, w), vr = head_input(op, "xRef", xRef, wr);
    RL_REQUIRE(vx.rows() == vr.rows(), "xRef: expected x's %lld rows, found %lld", static_cast<long long>(vx.rows()),
               static_cast<long long>(vr.rows()));
    View vgx = grad_input(op, gradX, vx), vgw = grad_weight(op, gradW, w);
    View vgk = per_token(op, "gradKl", gradKl, vx, false), vk = per_token(op, "kl", kl, vx, false);
    View vl = per_token(op, "lse", lse, vx, false), vlr = per_token(op, "lseRef", lseRef, vx, false);
    check_temperature(temperature);
    op.no_alias();
    op.device().ops.head_full_kl_backward(op.device(), vgx, vgw, vgk, vx, w, vr, wr, vl, vlr, vk, temperature);
  });
}
