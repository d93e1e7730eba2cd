#include "dispatch/op.h"

using namespace rl;

rl_status rl_weight_rows(const rl_tensor *y, rl_weight weight, const rl_tensor *ids) {
  return call("weight_rows", [&](Op &op) {
    const Weight &w = op.weight("weight", weight);
    View vids = op.input("ids", ids).dtype(RL_I32).rank(1).not_empty().dense();
    View vy = op.output("y", y).floating().shape({vids.rows(), w.k});
    op.no_alias();
    op.device().ops.weight_rows(op.device(), vy, w, vids);
  });
}
