#include "dispatch/op.h"

using namespace rl;

rl_status rl_gather_rows(const rl_tensor *y, const rl_tensor *x, const rl_tensor *index) {
  return call("gather_rows", [&](Op &op) {
    View vx = op.input("x", x).floating().rank(2).not_empty();
    View vindex = op.input("index", index).dtype(RL_I32).rank(1).not_empty().dense();
    View vy = op.output("y", y).dtype(vx.dtype).shape({vindex.rows(), vx.cols()});
    op.no_alias();
    op.device().ops.gather_rows(op.device(), vy, vx, vindex);
  });
}

rl_status rl_gather_rows_backward(const rl_tensor *gradX, const rl_tensor *gradY, const rl_tensor *index) {
  return call("gather_rows_backward", [&](Op &op) {
    View vgx = op.output("gradX", gradX).floating().rank(2).not_empty();
    View vindex = op.input("index", index).dtype(RL_I32).rank(1).not_empty().dense();
    View vgy = op.input("gradY", gradY).dtype(vgx.dtype).shape({vindex.rows(), vgx.cols()});
    op.no_alias();
    op.device().ops.gather_rows_backward(op.device(), vgx, vgy, vindex);
  });
}
