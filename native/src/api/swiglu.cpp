#include "dispatch/op.h"

using namespace rl;

rl_status rl_swiglu(const rl_tensor *y, const rl_tensor *gate, const rl_tensor *up) {
  return call("swiglu", [&](Op &op) {
    View vg = op.input("gate", gate).floating().rank(2).not_empty();
    View vu = op.input("up", up).dtype(vg.dtype).like(vg);
    View vy = op.output("y", y).dtype(vg.dtype).like(vg);
    op.no_alias();
    op.device().ops.swiglu(op.device(), vy, vg, vu);
  });
}

rl_status rl_swiglu_backward(const rl_tensor *gradGate, const rl_tensor *gradUp, const rl_tensor *gradY,
                             const rl_tensor *gate, const rl_tensor *up) {
  return call("swiglu_backward", [&](Op &op) {
    View vg = op.input("gate", gate).floating().rank(2).not_empty();
    View vu = op.input("up", up).dtype(vg.dtype).like(vg);
    View vgg = op.output("gradGate", gradGate).dtype(vg.dtype).like(vg);
    View vgu = op.output("gradUp", gradUp).dtype(vg.dtype).like(vg);
    View vgy = op.input("gradY", gradY).dtype(vg.dtype).like(vg);
    op.no_alias();
    op.device().ops.swiglu_backward(op.device(), vgg, vgu, vgy, vg, vu);
  });
}
