#include "dispatch/op.h"

using namespace rl;

rl_status rl_add(const rl_tensor *y, const rl_tensor *a, const rl_tensor *b) {
  return call("add", [&](Op &op) {
    View va = op.input("a", a).floating();
    View vb = op.input("b", b).floating().like(va);
    View vy = op.output("y", y).floating().like(va);
    op.may_alias({{"y", "a"}, {"y", "b"}});
    if (vy.elements() > 0) op.device().ops.add(op.device(), vy, va, vb);
  });
}
