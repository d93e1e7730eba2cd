#include "dispatch/op.h"

using namespace rl;

rl_status rl_scale(const rl_tensor *y, const rl_tensor *x, float factor) {
  return call("scale", [&](Op &op) {
    View vx = op.input("x", x).floating();
    View vy = op.output("y", y).floating().like(vx);
    op.may_alias({{"y", "x"}});
    if (vy.elements() > 0) op.device().ops.scale(op.device(), vy, vx, factor);
  });
}
