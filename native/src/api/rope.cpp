#include "dispatch/op.h"

using namespace rl;

rl_status rl_rope(const rl_tensor *y, const rl_tensor *x, const rl_tensor *positions, const rl_tensor *invFreq,
                  int32_t inverse) {
  return call("rope", [&](Op &op) {
    View vx = op.input("x", x).floating().rank(3).not_empty();
    RL_REQUIRE(vx.shape[2] % 2 == 0, "x: expected an even head size, found %lld", static_cast<long long>(vx.shape[2]));
    View vy = op.output("y", y).dtype(vx.dtype).like(vx);
    View vp = op.input("positions", positions).dtype(RL_I32).shape({vx.rows()}).dense();
    View vf = op.input("invFreq", invFreq).dtype(RL_F32).shape({vx.shape[2] / 2}).dense();
    op.may_alias({{"y", "x"}});
    op.device().ops.rope(op.device(), vy, vx, vp, vf, inverse != 0);
  });
}
