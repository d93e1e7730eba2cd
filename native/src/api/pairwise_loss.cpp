#include "dispatch/op.h"

using namespace rl;

rl_status rl_pairwise_loss(const rl_tensor *stats, const rl_tensor *gradChosen, const rl_tensor *gradRejected,
                           const rl_tensor *chosen, const rl_tensor *rejected, const rl_tensor *margin, float center,
                           float grad_scale) {
  return call("pairwise_loss", [&](Op &op) {
    View c = op.input("chosen", chosen).dtype(RL_F32).rank(1).not_empty().dense();
    View r = op.input("rejected", rejected).dtype(RL_F32).like(c).dense();
    View m;
    if (margin) m = op.input("margin", margin).dtype(RL_F32).like(c).dense();
    View gc = op.output("gradChosen", gradChosen).dtype(RL_F32).like(c).dense();
    View gr = op.output("gradRejected", gradRejected).dtype(RL_F32).like(c).dense();
    View s = op.output("stats", stats).dtype(RL_F32).shape({4}).dense();
    op.no_alias();
    op.device().ops.pairwise_loss(op.device(), s, gc, gr, c, r, m, center, grad_scale);
  });
}
