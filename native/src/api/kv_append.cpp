#include "dispatch/op.h"

using namespace rl;

rl_status rl_kv_append(const rl_tensor *cacheK, const rl_tensor *cacheV, const rl_tensor *k, const rl_tensor *v,
                       const rl_tensor *slots, const rl_tensor *positions) {
  return call("kv_append", [&](Op &op) {
    View vck = op.output("cacheK", cacheK).floating_or_f16().rank(4).not_empty();
    View vcv = op.output("cacheV", cacheV).dtype(vck.dtype).like(vck);
    View vk = op.input("k", k).dtype(vck.dtype).not_empty().shape({-1, vck.shape[2], vck.shape[3]});
    View vv = op.input("v", v).dtype(vck.dtype).like(vk);
    View vs = op.input("slots", slots).dtype(RL_I32).shape({vk.rows()}).dense();
    View vp = op.input("positions", positions).dtype(RL_I32).shape({vk.rows()}).dense();
    op.no_alias();
    op.device().ops.kv_append(op.device(), vck, vcv, vk, vv, vs, vp);
  });
}
