#include "dispatch/op.h"

using namespace rl;

rl_status rl_attention_decode(const rl_tensor *o, const rl_tensor *q, const rl_tensor *cacheK, const rl_tensor *cacheV,
                              const rl_tensor *slots, const rl_tensor *lengths, float scale, int32_t window) {
  return call("attention_decode", [&](Op &op) {
    View vq = op.input("q", q).floating_or_f16().rank(3).not_empty();
    View vck = op.input("cacheK", cacheK).dtype(vq.dtype).not_empty().shape({-1, -1, -1, vq.shape[2]});
    View vcv = op.input("cacheV", cacheV).dtype(vq.dtype).like(vck);
    RL_REQUIRE(vq.shape[1] % vck.shape[2] == 0, "q: expected a multiple of the cache's %lld heads, found %lld",
               static_cast<long long>(vck.shape[2]), static_cast<long long>(vq.shape[1]));
    View vo = op.output("o", o).dtype(vq.dtype).like(vq);
    Arg as = op.input("slots", slots).dtype(RL_I32).dense().not_empty();
    View vs = View(as).rank == 2 ? as.shape({vq.rows(), -1}) : as.shape({vq.rows()});
    View vl = op.input("lengths", lengths).dtype(RL_I32).shape({vq.rows()}).dense();
    RL_REQUIRE(window >= 0, "window: expected 0 or more, found %d", window);
    op.no_alias();
    op.device().ops.attention_decode(op.device(), vo, vq, vck, vcv, vs, vl, scale, window);
  });
}
