// lora, lora_backward and dropout_apply.
#include "dispatch/op.h"

using namespace rl;

namespace {

constexpr int64_t kMaxRank = 512;

rl_dropout dropout_of(const rl_dropout *dropout) {
  const rl_dropout d = dropout ? *dropout : rl_dropout{};
  RL_REQUIRE(d.p >= 0 && d.p < 1, "dropout.p: expected 0 to below 1, found %g", static_cast<double>(d.p));
  return d;
}

/// Checks the segments against x [rows,k] and the n columns of y.
std::vector<LoraSegment> segments_of(Op &op, const rl_lora_segment *segments, int32_t count, int64_t rows, int64_t k,
                                     int64_t n, int64_t hCols, bool backward) {
  RL_REQUIRE(count >= 0, "count: expected 0 or more, found %d", count);
  RL_REQUIRE(segments || count == 0, "segments: expected %d of them, found null", count);
  std::vector<LoraSegment> checked;
  checked.reserve(static_cast<size_t>(count));
  int64_t end = 0;
  for (int32_t i = 0; i < count; i++) {
    const rl_lora_segment s = segments[i];
    RL_REQUIRE(s.begin >= end && s.end >= s.begin && s.end <= rows,
               "segments[%d]: expected rows that follow %lld and end by %lld, found %lld to %lld", i,
               static_cast<long long>(end), static_cast<long long>(rows), static_cast<long long>(s.begin),
               static_cast<long long>(s.end));
    end = s.end;
    LoraSegment c{s.begin, s.end, s.scale, {}, {}, {}, {}};
    c.a = op.input("segments[].a", &s.a).dtype(RL_F32).not_empty().shape({-1, k}).dense();
    const int64_t r = c.a.rows();
    RL_REQUIRE(r <= kMaxRank && r <= hCols, "segments[%d].a: expected a rank of at most %lld, found %lld", i,
               static_cast<long long>(hCols < kMaxRank ? hCols : kMaxRank), static_cast<long long>(r));
    c.b = op.input("segments[].b", &s.b).dtype(RL_F32).shape({n, r}).dense();
    if (backward && s.gradA.buffer) {
      c.gradA = op.output("segments[].gradA", &s.gradA).dtype(RL_F32).like(c.a).dense();
      c.gradB = op.output("segments[].gradB", &s.gradB).dtype(RL_F32).like(c.b).dense();
    }
    checked.push_back(c);
  }
  return checked;
}

}  // namespace

rl_status rl_lora(const rl_tensor *y, const rl_tensor *h, const rl_tensor *x, const rl_lora_segment *segments,
                  int32_t count, const rl_dropout *dropout) {
  return call("lora", [&](Op &op) {
    View vx = op.input("x", x).floating().rank(2).not_empty();
    View vy = op.output("y", y).floating().not_empty().shape({vx.rows(), -1});
    View vh = op.output("h", h).dtype(RL_F32).not_empty().shape({vx.rows(), -1}).dense();
    const rl_dropout d = dropout_of(dropout);
    const auto checked = segments_of(op, segments, count, vx.rows(), vx.cols(), vy.cols(), vh.cols(), false);
    op.no_alias();
    op.device().ops.lora(op.device(), vy, vh, vx, checked.data(), count, d);
  });
}

rl_status rl_lora_backward(const rl_tensor *gradX, const rl_tensor *gradY, const rl_tensor *x, const rl_tensor *h,
                           const rl_lora_segment *segments, int32_t count, const rl_dropout *dropout) {
  return call("lora_backward", [&](Op &op) {
    View vx = op.input("x", x).floating().rank(2).not_empty();
    View vgy = op.input("gradY", gradY).floating().not_empty().shape({vx.rows(), -1});
    View vh = op.input("h", h).dtype(RL_F32).not_empty().shape({vx.rows(), -1}).dense();
    View vgx;
    if (gradX) vgx = op.output("gradX", gradX).floating().like(vx);
    const rl_dropout d = dropout_of(dropout);
    const auto checked = segments_of(op, segments, count, vx.rows(), vx.cols(), vgy.cols(), vh.cols(), true);
    op.no_alias();
    op.device().ops.lora_backward(op.device(), vgx, vgy, vx, vh, checked.data(), count, d);
  });
}

rl_status rl_dropout_apply(const rl_tensor *y, const rl_tensor *x, const rl_dropout *dropout) {
  return call("dropout_apply", [&](Op &op) {
    View vx = op.input("x", x).floating().rank(2).not_empty();
    View vy = op.output("y", y).dtype(vx.dtype).like(vx);
    const rl_dropout d = dropout_of(dropout);
    op.no_alias();
    op.device().ops.dropout_apply(op.device(), vy, vx, d);
  });
}
