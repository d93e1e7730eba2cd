#include "dispatch/op.h"

using namespace rl;

rl_status rl_head_cross_entropy(const rl_tensor *loss, const rl_tensor *gradX, const rl_tensor *gradW,
                                const rl_tensor *x, rl_weight weight, const rl_tensor *targets, float gradScale) {
  return call("head_cross_entropy", [&](Op &op) {
    const Weight &w = op.weight("weight", weight);
    View vx = op.input("x", x).floating().shape({-1, w.k}).not_empty();
    RL_REQUIRE(vx.dtype == w.dtype, "x: expected weight's dtype %s, found %s", dtype_name(w.dtype),
               dtype_name(vx.dtype));
    View vt = op.input("targets", targets).dtype(RL_I32).shape({vx.rows()}).dense();
    View vl = op.output("loss", loss).dtype(RL_F32).shape({2}).dense();
    View vgx, vgw;
    if (gradX) vgx = op.output("gradX", gradX).floating().like(vx);
    if (gradW) vgw = op.output("gradW", gradW).dtype(RL_F32).shape({w.n, w.k}).dense();
    op.no_alias();
    op.device().ops.head_cross_entropy(op.device(), vl, vgx, vgw, vx, w, vt, gradScale);
  });
}
