#include "dispatch/op.h"

using namespace rl;

rl_status rl_scalar_head(const rl_tensor *y, const rl_tensor *x, const rl_tensor *w, const rl_tensor *bias) {
  return call("scalar_head", [&](Op &op) {
    View vx = op.input("x", x).floating().rank(2).not_empty();
    View vy = op.output("y", y).dtype(RL_F32).shape({vx.rows()}).dense();
    View vw = op.input("w", w).dtype(RL_F32).shape({vx.cols()}).dense();
    View vb;
    if (bias) vb = op.input("bias", bias).dtype(RL_F32).shape({1});
    op.no_alias();
    op.device().ops.scalar_head(op.device(), vy, vx, vw, vb);
  });
}

rl_status rl_scalar_head_backward(const rl_tensor *gradX, const rl_tensor *gradW, const rl_tensor *gradBias,
                                  const rl_tensor *gradY, const rl_tensor *x, const rl_tensor *w) {
  return call("scalar_head_backward", [&](Op &op) {
    View vx = op.input("x", x).floating().rank(2).not_empty();
    View vgy = op.input("gradY", gradY).dtype(RL_F32).shape({vx.rows()}).dense();
    View vw = op.input("w", w).dtype(RL_F32).shape({vx.cols()}).dense();
    View vgw = op.output("gradW", gradW).dtype(RL_F32).shape({vx.cols()}).dense();
    View vgx, vgb;
    if (gradX) vgx = op.output("gradX", gradX).floating().like(vx);
    if (gradBias) vgb = op.output("gradBias", gradBias).dtype(RL_F32).shape({1});
    op.no_alias();
    op.device().ops.scalar_head_backward(op.device(), vgx, vgw, vgb, vgy, vx, vw);
  });
}
