#include "dispatch/op.h"

using namespace rl;

rl_status rl_sample(const rl_tensor *ids, const rl_tensor *logp, const rl_tensor *logits, const rl_tensor *streams,
                    const rl_tensor *steps, const rl_tensor *suppress, const rl_tensor *allow,
                    const rl_sample_config *config) {
  return call("sample", [&](Op &op) {
    RL_REQUIRE(config, "config: expected a rl_sample_config, found null");
    const rl_sample_config c = *config;
    View l = op.input("logits", logits).dtype(RL_F32).rank(2).not_empty();
    const int64_t rows = l.rows();
    View out = op.output("ids", ids).dtype(RL_I32).shape({rows}).dense();
    View p;
    if (logp) p = op.output("logp", logp).dtype(RL_F32).shape({rows}).dense();
    View st = op.input("streams", streams).dtype(RL_I32).shape({rows}).dense();
    View sp = op.input("steps", steps).dtype(RL_I32).shape({rows}).dense();
    View sup, al;
    if (suppress) {
      sup = op.input("suppress", suppress).dtype(RL_I32).rank(1).dense();
      al = op.input("allow", allow).dtype(RL_I32).shape({rows}).dense();
    }
    RL_REQUIRE(c.temperature >= 0, "config.temperature: expected 0 or more, found %g",
               static_cast<double>(c.temperature));
    RL_REQUIRE(c.top_k >= 0, "config.top_k: expected 0 or more, found %d", c.top_k);
    RL_REQUIRE(c.top_p > 0 && c.top_p <= 1, "config.top_p: expected more than 0, at most 1, found %g",
               static_cast<double>(c.top_p));
    op.no_alias();
    op.device().ops.sample(op.device(), out, p, l, st, sp, sup, al, c);
  });
}
