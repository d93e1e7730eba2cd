// rope_table and rope.
#include "dispatch/op.h"

using namespace rl;

rl_status rl_rope_table(const rl_tensor *table, const rl_tensor *positions, const rl_tensor *invFreq) {
  return call("rope_table", [&](Op &op) {
    View vp = op.input("positions", positions).dtype(RL_I32).rank(1).not_empty().dense();
    View vf = op.input("invFreq", invFreq).dtype(RL_F32).not_empty().shape({2, -1}).dense();
    View vt = op.output("table", table).dtype(RL_F32).shape({vp.rows(), 2 * vf.cols()}).dense();
    op.no_alias();
    op.device().ops.rope_table(op.device(), vt, vp, vf);
  });
}

rl_status rl_rope(const rl_tensor *y, const rl_tensor *x, const rl_tensor *table, int32_t inverse) {
  return call("rope", [&](Op &op) {
    View vx = op.input("x", x).floating().rank(3).not_empty();
    View vy = op.output("y", y).dtype(vx.dtype).like(vx);
    View vt = op.input("table", table).dtype(RL_F32).shape({vx.rows(), -1}).dense();
    RL_REQUIRE(vt.cols() % 2 == 0 && vt.cols() <= vx.shape[2],
               "table: expected an even number of columns, at most the head size %lld, found %lld",
               static_cast<long long>(vx.shape[2]), static_cast<long long>(vt.cols()));
    op.may_alias({{"y", "x"}});
    op.device().ops.rope(op.device(), vy, vx, vt, inverse != 0);
  });
}
