#include "dispatch/op.h"

using namespace rl;

rl_status rl_embedding(const rl_tensor *y, const rl_tensor *w, const rl_tensor *ids) {
  return call("embedding", [&](Op &op) {
    View vw = op.input("w", w).floating().rank(2).not_empty();
    View vids = op.input("ids", ids).dtype(RL_I32).rank(1).not_empty().dense();
    View vy = op.output("y", y).floating().shape({vids.rows(), vw.cols()});
    op.no_alias();
    op.device().ops.embedding(op.device(), vy, vw, vids);
  });
}

rl_status rl_embedding_backward(const rl_tensor *gradW, const rl_tensor *gradY, const rl_tensor *ids) {
  return call("embedding_backward", [&](Op &op) {
    View vids = op.input("ids", ids).dtype(RL_I32).rank(1).not_empty().dense();
    View vgw = op.output("gradW", gradW).dtype(RL_F32).rank(2).not_empty();
    View vgy = op.input("gradY", gradY).floating().shape({vids.rows(), vgw.cols()});
    op.no_alias();
    op.device().ops.embedding_backward(op.device(), vgw, vgy, vids);
  });
}
