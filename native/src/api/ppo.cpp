// kl_penalty, shaped_rewards, gae, whiten, advantages, ppo_loss: packed f32 [T] over response tokens.
#include "dispatch/op.h"

using namespace rl;

static View tokens(Op &op, const char *name, const rl_tensor *t) {
  return op.input(name, t).dtype(RL_F32).rank(1).not_empty().dense();
}

static View cu_view(Op &op, const rl_tensor *cu_seqlens) {
  View cu = op.input("cu_seqlens", cu_seqlens).dtype(RL_I32).rank(1).dense();
  RL_REQUIRE(cu.elements() >= 2, "cu_seqlens: expected at least 2 elements, found %lld",
             static_cast<long long>(cu.elements()));
  return cu;
}

rl_status rl_kl_penalty(const rl_tensor *kl, const rl_tensor *logp, const rl_tensor *logpRef, int32_t kind) {
  return call("kl_penalty", [&](Op &op) {
    View a = tokens(op, "logp", logp);
    View b = op.input("logpRef", logpRef).dtype(RL_F32).like(a).dense();
    View out = op.output("kl", kl).dtype(RL_F32).like(a).dense();
    RL_REQUIRE(kind >= RL_KL_K1 && kind <= RL_KL_K3, "kind: expected one of rl_kl_kind, found %d", kind);
    op.no_alias();
    op.device().ops.kl_penalty(op.device(), out, a, b, kind);
  });
}

rl_status rl_shaped_rewards(const rl_tensor *rewards, const rl_tensor *kl, const rl_tensor *scores,
                            const rl_tensor *cu_seqlens, float beta) {
  return call("shaped_rewards", [&](Op &op) {
    View k = tokens(op, "kl", kl);
    View out = op.output("rewards", rewards).dtype(RL_F32).like(k).dense();
    View cu = cu_view(op, cu_seqlens);
    View s = op.input("scores", scores).dtype(RL_F32).shape({cu.elements() - 1}).dense();
    op.no_alias();
    op.device().ops.shaped_rewards(op.device(), out, k, s, cu, beta);
  });
}

rl_status rl_gae(const rl_tensor *advantages, const rl_tensor *returns, const rl_tensor *rewards,
                 const rl_tensor *values, const rl_tensor *cu_seqlens, float gamma, float lam) {
  return call("gae", [&](Op &op) {
    View r = tokens(op, "rewards", rewards);
    View v = op.input("values", values).dtype(RL_F32).like(r).dense();
    View a = op.output("advantages", advantages).dtype(RL_F32).like(r).dense();
    View ret = op.output("returns", returns).dtype(RL_F32).like(r).dense();
    View cu = cu_view(op, cu_seqlens);
    op.no_alias();
    op.device().ops.gae(op.device(), a, ret, r, v, cu, gamma, lam);
  });
}

rl_status rl_whiten(const rl_tensor *y, const rl_tensor *x, int32_t shift_mean) {
  return call("whiten", [&](Op &op) {
    View vx = tokens(op, "x", x);
    View vy = op.output("y", y).dtype(RL_F32).like(vx).dense();
    op.may_alias({{"y", "x"}});
    op.device().ops.whiten(op.device(), vy, vx, shift_mean != 0);
  });
}

rl_status rl_advantages(const rl_tensor *rewards, const rl_tensor *advantages, const rl_tensor *returns,
                        const rl_tensor *kl, const rl_tensor *scores, const rl_tensor *values,
                        const rl_tensor *cu_seqlens, const rl_advantages_config *config) {
  return call("advantages", [&](Op &op) {
    RL_REQUIRE(config, "config: expected a rl_advantages_config, found null");
    const rl_advantages_config c = *config;
    View k = tokens(op, "kl", kl);
    View r = op.output("rewards", rewards).dtype(RL_F32).like(k).dense();
    View a = op.output("advantages", advantages).dtype(RL_F32).like(k).dense();
    View ret = op.output("returns", returns).dtype(RL_F32).like(k).dense();
    View v = op.input("values", values).dtype(RL_F32).like(k).dense();
    View cu = cu_view(op, cu_seqlens);
    View s = op.input("scores", scores).dtype(RL_F32).shape({cu.elements() - 1}).dense();
    op.no_alias();
    op.device().ops.advantages(op.device(), r, a, ret, k, s, v, cu, c);
  });
}

rl_status rl_ppo_loss(const rl_tensor *stats, const rl_tensor *gradLogp, const rl_tensor *gradValues,
                      const rl_tensor *logp, const rl_tensor *values, const rl_tensor *entropy,
                      const rl_tensor *oldLogp, const rl_tensor *oldValues, const rl_tensor *advantages,
                      const rl_tensor *returns, const rl_tensor *index, const rl_ppo_config *config) {
  return call("ppo_loss", [&](Op &op) {
    RL_REQUIRE(config, "config: expected a rl_ppo_config, found null");
    const rl_ppo_config c = *config;
    RL_REQUIRE(c.cliprange > 0, "config.cliprange: expected more than 0, found %g", static_cast<double>(c.cliprange));
    RL_REQUIRE(c.cliprange_value > 0, "config.cliprange_value: expected more than 0, found %g",
               static_cast<double>(c.cliprange_value));
    RL_REQUIRE(c.dual_clip == 0 || c.dual_clip > 1, "config.dual_clip: expected 0 or more than 1, found %g",
               static_cast<double>(c.dual_clip));
    View l = tokens(op, "logp", logp);
    View v = op.input("values", values).dtype(RL_F32).like(l).dense();
    View e, i;
    if (entropy) e = op.input("entropy", entropy).dtype(RL_F32).like(l).dense();
    if (index) i = op.input("index", index).dtype(RL_I32).like(l).dense();
    View ol = tokens(op, "oldLogp", oldLogp);
    RL_REQUIRE(index || ol.elements() == l.elements(), "oldLogp: expected shape %s, found %s", shape_text(l).c_str(),
               shape_text(ol).c_str());
    View ov = op.input("oldValues", oldValues).dtype(RL_F32).like(ol).dense();
    View a = op.input("advantages", advantages).dtype(RL_F32).like(ol).dense();
    View r = op.input("returns", returns).dtype(RL_F32).like(ol).dense();
    View gl = op.output("gradLogp", gradLogp).dtype(RL_F32).like(l).dense();
    View gv = op.output("gradValues", gradValues).dtype(RL_F32).like(l).dense();
    View s = op.output("stats", stats).dtype(RL_F32).shape({RL_PPO_STATS}).dense();
    op.no_alias();
    op.device().ops.ppo_loss(op.device(), s, gl, gv, l, v, e, ol, ov, a, r, i, c);
  });
}
