#include "dispatch/op.h"

using namespace rl;

static bool is_float(int32_t dtype) { return dtype == RL_F32 || dtype == RL_BF16 || dtype == RL_F16; }

rl_status rl_copy(const rl_tensor *y, const rl_tensor *x) {
  return call("copy", [&](Op &op) {
    View vx = op.input("x", x);
    View vy = op.output("y", y).like(vx);
    RL_REQUIRE(vx.dtype == vy.dtype || (is_float(vx.dtype) && is_float(vy.dtype)),
               "y: expected %s or a conversion between f32, bf16 and f16, found %s", dtype_name(vx.dtype),
               dtype_name(vy.dtype));
    op.no_alias();
    if (vy.elements() > 0) op.device().ops.copy(op.device(), vy, vx);
  });
}
