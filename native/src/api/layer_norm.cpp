#include "dispatch/op.h"

using namespace rl;

rl_status rl_layer_norm(const rl_tensor *y, const rl_tensor *x, const rl_tensor *w, const rl_tensor *bias, float eps) {
  return call("layer_norm", [&](Op &op) {
    View vx = op.input("x", x).floating().rank(2).not_empty();
    View vy = op.output("y", y).floating().like(vx);
    View vw = op.input("w", w).dtype(RL_F32).shape({vx.cols()}).dense();
    View vb = op.input("bias", bias).dtype(RL_F32).shape({vx.cols()}).dense();
    RL_REQUIRE(eps >= 0, "eps: expected 0 or more, found %g", static_cast<double>(eps));
    op.no_alias();
    op.device().ops.layer_norm(op.device(), vy, vx, vw, vb, eps);
  });
}

rl_status rl_layer_norm_backward(const rl_tensor *gradX, const rl_tensor *gradW, const rl_tensor *gradBias,
                                 const rl_tensor *gradY, const rl_tensor *x, const rl_tensor *w, float eps) {
  return call("layer_norm_backward", [&](Op &op) {
    View vx = op.input("x", x).floating().rank(2).not_empty();
    View vgx = op.output("gradX", gradX).floating().like(vx);
    View vgy = op.input("gradY", gradY).floating().like(vx);
    View vw = op.input("w", w).dtype(RL_F32).shape({vx.cols()}).dense();
    View vgw, vgb;
    RL_REQUIRE(!gradW == !gradBias, "gradBias: expected it with gradW, or neither");
    if (gradW) {
      vgw = op.output("gradW", gradW).dtype(RL_F32).shape({vx.cols()}).dense();
      vgb = op.output("gradBias", gradBias).dtype(RL_F32).shape({vx.cols()}).dense();
    }
    RL_REQUIRE(eps >= 0, "eps: expected 0 or more, found %g", static_cast<double>(eps));
    op.no_alias();
    op.device().ops.layer_norm_backward(op.device(), vgx, vgw, vgb, vgy, vx, vw, eps);
  });
}
