#include <cstring>
#include <deque>
#include <string>

#include "dispatch/op.h"

using namespace rl;

namespace {

constexpr int64_t kMaxRank = 512;
constexpr int32_t kMaxLoras = 8, kMaxSegments = 1024;

void require_dropout(const char *name, const rl_dropout &dropout) {
  RL_REQUIRE(dropout.p >= 0 && dropout.p < 1, "%s: expected p in [0, 1), found %g", name,
             static_cast<double>(dropout.p));
}

void require_dtype_of_weight(const char *name, const View &view, const Weight &weight) {
  RL_REQUIRE(view.dtype == weight.dtype, "%s: expected weight's dtype %s, found %s", name, dtype_name(weight.dtype),
             dtype_name(view.dtype));
}

/// The adapters of a call with their tensors resolved.
class Loras {
 public:
  Loras(Op &op, const rl_lora *loras, int32_t count, int64_t rows, const Weight &weight, bool backward)
      : op_(op), rows_(rows), k_(weight.k), backward_(backward) {
    RL_REQUIRE(count >= 0 && count <= kMaxLoras, "count: expected 0 to %d loras, found %d", kMaxLoras, count);
    RL_REQUIRE(loras || count == 0, "loras: expected %d of them, found null", count);
    int64_t end = 0;
    for (int32_t i = 0; i < count; i++) {
      const rl_lora &in = loras[i];
      RL_REQUIRE(in.from >= end && in.from < in.to && in.to <= weight.n,
                 "loras[%d]: expected columns from %lld on, ascending, up to %lld, found %lld to %lld", i,
                 static_cast<long long>(end), static_cast<long long>(weight.n), static_cast<long long>(in.from),
                 static_cast<long long>(in.to));
      end = in.to;
      const char *of = name("loras[%d]", i);
      require_dropout(name("%s.dropout", of), in.dropout);
      Lora out{in.from, in.to, {}, nullptr, in.count, in.dropout};
      const char *h = name("%s.h", of);
      out.h = (backward ? op.input(h, &in.h) : op.output(h, &in.h)).dtype(RL_F32).shape({rows, -1});
      segments_.push_back(resolve(of, in, out.h));
      out.segments = segments_.back().data();
      loras_.push_back(out);
    }
  }
  const Lora *data() const { return loras_.data(); }

 private:
  /// Lives as long as this, for the error texts.
  template <class... P>
  const char *name(const char *pattern, P... parts) {
    names_.push_back(format(pattern, parts...));
    return names_.back().c_str();
  }

  std::vector<LoraSegment> resolve(const char *of, const rl_lora &lora, const View &h) {
    RL_REQUIRE(lora.count >= 0 && lora.count <= kMaxSegments, "%s.count: expected 0 to %d segments, found %d", of,
               kMaxSegments, lora.count);
    RL_REQUIRE(lora.segments || lora.count == 0, "%s.segments: expected %d of them, found null", of, lora.count);
    std::vector<LoraSegment> resolved(static_cast<size_t>(lora.count));
    int64_t end = 0;
    for (int32_t s = 0; s < lora.count; s++) {
      const rl_lora_segment &in = lora.segments[s];
      const char *segment = name("%s.segments[%d]", of, s);
      RL_REQUIRE(in.begin >= end && in.begin <= in.end && in.end <= rows_,
                 "%s: expected rows from %lld on, ascending, up to %lld, found %lld to %lld", segment,
                 static_cast<long long>(end), static_cast<long long>(rows_), static_cast<long long>(in.begin),
                 static_cast<long long>(in.end));
      end = in.end;
      LoraSegment &out = resolved[static_cast<size_t>(s)];
      out.begin = in.begin;
      out.end = in.end;
      out.scale = in.scale;
      out.a = op_.input(name("%s.a", segment), &in.a).dtype(RL_F32).shape({-1, k_}).not_empty().dense();
      const int64_t rank = out.a.rows();
      RL_REQUIRE(rank <= kMaxRank, "%s.a: expected a rank of at most %lld, found %lld", segment,
                 static_cast<long long>(kMaxRank), static_cast<long long>(rank));
      RL_REQUIRE(h.cols() >= rank, "%s.h: expected at least %lld columns, the largest rank, found %lld", of,
                 static_cast<long long>(rank), static_cast<long long>(h.cols()));
      out.b = op_.input(name("%s.b", segment), &in.b).dtype(RL_F32).shape({lora.to - lora.from, rank}).dense();
      if (!backward_) continue;
      RL_REQUIRE((in.gradA.buffer == 0) == (in.gradB.buffer == 0), "%s: expected both gradA and gradB or neither",
                 segment);
      if (in.gradA.buffer == 0) continue;
      // One adapter may serve several runs of rows: its gradients add up, and are not an overlap.
      bool known = false;
      for (int32_t q = 0; q < s && !known; q++) {
        const LoraSegment &other = resolved[static_cast<size_t>(q)];
        const rl_lora_segment &named = lora.segments[q];
        known = other.gradA && other.a.rows() == rank && !std::memcmp(&named.gradA, &in.gradA, sizeof(rl_tensor)) &&
                !std::memcmp(&named.gradB, &in.gradB, sizeof(rl_tensor));
        if (known) out.gradA = other.gradA, out.gradB = other.gradB;
      }
      if (known) continue;
      out.gradA = op_.output(name("%s.gradA", segment), &in.gradA).dtype(RL_F32).like(out.a).dense();
      out.gradB = op_.output(name("%s.gradB", segment), &in.gradB).dtype(RL_F32).like(out.b).dense();
    }
    return resolved;
  }

  Op &op_;
  int64_t rows_, k_;
  bool backward_;
  std::deque<std::string> names_;
  std::deque<std::vector<LoraSegment>> segments_;
  std::vector<Lora> loras_;
};

}  // namespace

rl_status rl_lora_linear(const rl_tensor *y, const rl_tensor *x, rl_weight weight, const rl_tensor *bias,
                         const rl_lora *loras, int32_t count) {
  return call("lora_linear", [&](Op &op) {
    const Weight &w = op.weight("weight", weight);
    View vx = op.input("x", x).floating().shape({-1, w.k}).not_empty();
    require_dtype_of_weight("x", vx, w);
    View vy = op.output("y", y).floating().shape({vx.rows(), w.n});
    View vb;
    if (bias) vb = op.input("bias", bias).dtype(RL_F32).shape({w.n}).dense();
    const Loras adapters(op, loras, count, vx.rows(), w, false);
    op.no_alias();
    op.device().ops.lora_linear(op.device(), vy, vx, w, vb, adapters.data(), count);
  });
}

rl_status rl_lora_linear_backward(const rl_tensor *gradX, const rl_tensor *gradY, const rl_tensor *x, rl_weight weight,
                                  const rl_lora *loras, int32_t count) {
  return call("lora_linear_backward", [&](Op &op) {
    const Weight &w = op.weight("weight", weight);
    View vx = op.input("x", x).floating().shape({-1, w.k}).not_empty();
    require_dtype_of_weight("x", vx, w);
    View vgy = op.input("gradY", gradY).floating().shape({vx.rows(), w.n});
    require_dtype_of_weight("gradY", vgy, w);
    View vgx;
    if (gradX) vgx = op.output("gradX", gradX).floating().like(vx);
    const Loras adapters(op, loras, count, vx.rows(), w, true);
    op.no_alias();
    op.device().ops.lora_linear_backward(op.device(), vgx, vgy, vx, w, adapters.data(), count);
  });
}

rl_status rl_dropout_apply(const rl_tensor *y, const rl_tensor *x, const rl_dropout *dropout) {
  return call("dropout_apply", [&](Op &op) {
    View vx = op.input("x", x).floating().rank(2).not_empty();
    View vy = op.output("y", y).floating().like(vx);
    op.no_alias();
    if (dropout) require_dropout("dropout", *dropout);
    op.device().ops.dropout_apply(op.device(), vy, vx, dropout ? *dropout : rl_dropout{});
  });
}
