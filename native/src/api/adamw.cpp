// grad_norm and adamw.
#include "dispatch/op.h"

using namespace rl;

rl_status rl_grad_norm(const rl_tensor *norm, const rl_tensor *x) {
  return call("grad_norm", [&](Op &op) {
    View vx = op.input("x", x).dtype(RL_F32).dense();
    View vn = op.output("norm", norm).dtype(RL_F32).shape({1}).dense();
    op.no_alias();
    op.device().ops.grad_norm(op.device(), vn, vx);
  });
}

rl_status rl_adamw(const rl_tensor *param, const rl_tensor *rounded, const rl_tensor *m, const rl_tensor *v,
                   const rl_tensor *grad, const rl_tensor *norm, const rl_adamw_config *config) {
  return call("adamw", [&](Op &op) {
    RL_REQUIRE(config, "config: expected a rl_adamw_config, found null");
    const rl_adamw_config c = *config;
    View p = op.output("param", param).dtype(RL_F32).dense();
    View vr;
    if (rounded) vr = op.output("rounded", rounded).dtype(RL_BF16).like(p).dense();
    View vm = op.output("m", m).dtype(RL_F32).like(p).dense();
    View vv = op.output("v", v).dtype(RL_F32).like(p).dense();
    View g = op.output("grad", grad).dtype(RL_F32).like(p).dense();
    View vn;
    if (norm) vn = op.input("norm", norm).dtype(RL_F32).shape({1}).dense();
    RL_REQUIRE(c.step >= 1, "config.step: expected 1 or more, found %d", c.step);
    RL_REQUIRE(c.beta1 >= 0 && c.beta1 < 1 && c.beta2 >= 0 && c.beta2 < 1,
               "config.beta1, beta2: expected 0 to below 1, found %g and %g", static_cast<double>(c.beta1),
               static_cast<double>(c.beta2));
    RL_REQUIRE(c.decayed >= 0 && c.decayed <= p.elements(), "config.decayed: expected 0 to %lld, found %lld",
               static_cast<long long>(p.elements()), static_cast<long long>(c.decayed));
    RL_REQUIRE(!(c.max_grad_norm > 0) || norm,
               "norm: expected a tensor, since config.max_grad_norm is given; found null");
    op.no_alias();
    if (p.elements() > 0) op.device().ops.adamw(op.device(), p, vr, vm, vv, g, vn, c);
  });
}
