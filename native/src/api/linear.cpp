#include "dispatch/op.h"

using namespace rl;

static void require_dtype_of(const char *name, const View &view, const char *other_name, int32_t other) {
  RL_REQUIRE(view.dtype == other, "%s: expected %s's dtype %s, found %s", name, other_name, dtype_name(other),
             dtype_name(view.dtype));
}

rl_status rl_linear(const rl_tensor *y, const rl_tensor *x, rl_weight weight, const rl_tensor *bias,
                    int32_t accumulate) {
  return call("linear", [&](Op &op) {
    const Weight &w = op.weight("weight", weight);
    View vx = op.input("x", x).floating().shape({-1, w.k}).not_empty();
    require_dtype_of("x", vx, "weight", w.dtype);
    View vy = op.output("y", y).floating().shape({vx.rows(), w.n});
    View vb;
    if (bias) vb = op.input("bias", bias).dtype(RL_F32).shape({w.n}).dense();
    op.no_alias();
    op.device().ops.linear(op.device(), vy, vx, w, vb, accumulate != 0);
  });
}

rl_status rl_linear_backward_input(const rl_tensor *gradX, const rl_tensor *gradY, rl_weight weight,
                                   int32_t accumulate) {
  return call("linear_backward_input", [&](Op &op) {
    const Weight &w = op.weight("weight", weight);
    View vgy = op.input("gradY", gradY).floating().shape({-1, w.n}).not_empty();
    require_dtype_of("gradY", vgy, "weight", w.dtype);
    View vgx = op.output("gradX", gradX).floating().shape({vgy.rows(), w.k});
    op.no_alias();
    op.device().ops.linear_backward_input(op.device(), vgx, vgy, w, accumulate != 0);
  });
}

rl_status rl_linear_backward_weight(const rl_tensor *gradW, const rl_tensor *gradBias, const rl_tensor *gradY,
                                    const rl_tensor *x) {
  return call("linear_backward_weight", [&](Op &op) {
    View vx = op.input("x", x).floating().rank(2).not_empty();
    View vgy = op.input("gradY", gradY).floating().shape({vx.rows(), -1}).not_empty();
    require_dtype_of("gradY", vgy, "x", vx.dtype);
    View vgw = op.output("gradW", gradW).dtype(RL_F32).shape({vgy.cols(), vx.cols()}).dense();
    View vgb;
    if (gradBias) vgb = op.output("gradBias", gradBias).dtype(RL_F32).shape({vgy.cols()}).dense();
    op.no_alias();
    op.device().ops.linear_backward_weight(op.device(), vgw, vgb, vgy, vx);
  });
}
