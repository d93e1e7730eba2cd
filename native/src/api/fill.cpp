#include "dispatch/op.h"

using namespace rl;

rl_status rl_fill(const rl_tensor *y, double value) {
  return call("fill", [&](Op &op) {
    View vy = op.output("y", y);
    if (vy.elements() > 0) op.device().ops.fill(op.device(), vy, value);
  });
}
