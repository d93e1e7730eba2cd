#include "dispatch/op.h"

using namespace rl;

rl_status rl_gelu_tanh(const rl_tensor *y, const rl_tensor *x, const rl_tensor *up) {
  return call("gelu_tanh", [&](Op &op) {
    View vx = op.input("x", x).floating().rank(2).not_empty();
    View vu;
    if (up) vu = op.input("up", up).dtype(vx.dtype).like(vx);
    View vy = op.output("y", y).dtype(vx.dtype).like(vx);
    op.no_alias();
    op.device().ops.gelu_tanh(op.device(), vy, vx, vu);
  });
}

rl_status rl_gelu_tanh_backward(const rl_tensor *gradX, const rl_tensor *gradUp, const rl_tensor *gradY,
                                const rl_tensor *x, const rl_tensor *up) {
  return call("gelu_tanh_backward", [&](Op &op) {
    View vx = op.input("x", x).floating().rank(2).not_empty();
    View vgx = op.output("gradX", gradX).dtype(vx.dtype).like(vx);
    View vgy = op.input("gradY", gradY).dtype(vx.dtype).like(vx);
    View vu, vgu;
    RL_REQUIRE(!gradUp == !up, "gradUp: expected it with up, or neither");
    if (up) {
      vu = op.input("up", up).dtype(vx.dtype).like(vx);
      vgu = op.output("gradUp", gradUp).dtype(vx.dtype).like(vx);
    }
    op.no_alias();
    op.device().ops.gelu_tanh_backward(op.device(), vgx, vgu, vgy, vx, vu);
  });
}
