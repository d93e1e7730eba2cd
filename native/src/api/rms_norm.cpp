#include "dispatch/op.h"

using namespace rl;

namespace {

View rows_or_heads(Op &op, const rl_tensor *x) {
  View view = op.input("x", x).floating().not_empty();
  RL_REQUIRE(view.rank == 2 || view.rank == 3, "x: expected rank 2 or 3, found shape %s", shape_text(view).c_str());
  return view;
}

}  // namespace

rl_status rl_rms_norm(const rl_tensor *y, const rl_tensor *x, const rl_tensor *w, float eps) {
  return call("rms_norm", [&](Op &op) {
    View vx = rows_or_heads(op, x);
    View vy = op.output("y", y).floating().like(vx);
    View vw = op.input("w", w).dtype(RL_F32).shape({vx.shape[vx.rank - 1]}).dense();
    RL_REQUIRE(eps >= 0, "eps: expected 0 or more, found %g", static_cast<double>(eps));
    op.no_alias();
    op.device().ops.rms_norm(op.device(), vy, vx, vw, eps);
  });
}

rl_status rl_rms_norm_backward(const rl_tensor *gradX, const rl_tensor *gradW, const rl_tensor *gradY,
                               const rl_tensor *x, const rl_tensor *w, float eps) {
  return call("rms_norm_backward", [&](Op &op) {
    View vx = rows_or_heads(op, x);
    View vgx = op.output("gradX", gradX).floating().like(vx);
    View vgy = op.input("gradY", gradY).floating().like(vx);
    View vw = op.input("w", w).dtype(RL_F32).shape({vx.shape[vx.rank - 1]}).dense();
    View vgw;
    if (gradW) vgw = op.output("gradW", gradW).dtype(RL_F32).shape({vx.shape[vx.rank - 1]}).dense();
    RL_REQUIRE(eps >= 0, "eps: expected 0 or more, found %g", static_cast<double>(eps));
    op.no_alias();
    op.device().ops.rms_norm_backward(op.device(), vgx, vgw, vgy, vx, vw, eps);
  });
}
