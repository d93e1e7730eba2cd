#include <cstring>
#include <string>

#include "dispatch/op.h"

using namespace rl;

namespace {

constexpr int64_t kMaxRank = 512;

rl_dropout checked(const rl_dropout *dropout) {
  if (!dropout) return {};
  RL_REQUIRE(dropout->p >= 0 && dropout->p < 1, "dropout: expected p in [0, 1), found %g",
             static_cast<double>(dropout->p));
  return *dropout;
}

/// The segments with their tensors resolved. The names of a segment's tensors live in `names`, for the error texts.
std::vector<LoraSegment> resolve(Op &op, std::vector<std::string> &names, const rl_lora_segment *segments,
                                 int32_t count, int64_t rows, int64_t k, int64_t n, bool backward) {
  RL_REQUIRE(count >= 0 && count <= 1024, "count: expected 0 to 1024 segments, found %d", count);
  RL_REQUIRE(segments || count == 0, "segments: expected %d of them, found null", count);
  std::vector<LoraSegment> resolved(static_cast<size_t>(count));
  names.reserve(4 * static_cast<size_t>(count));
  auto name = [&](int32_t s, const char *field) {
    names.push_back(format("segments[%d].%s", s, field));
    return names.back().c_str();
  };
  int64_t end = 0;
  for (int32_t s = 0; s < count; s++) {
    const rl_lora_segment &in = segments[s];
    RL_REQUIRE(in.begin >= end && in.begin <= in.end && in.end <= rows,
               "segments[%d]: expected rows from %lld on, ascending, up to %lld, found %lld to %lld", s,
               static_cast<long long>(end), static_cast<long long>(rows), static_cast<long long>(in.begin),
               static_cast<long long>(in.end));
    end = in.end;
    LoraSegment &out = resolved[static_cast<size_t>(s)];
    out.begin = in.begin;
    out.end = in.end;
    out.scale = in.scale;
    out.a = op.input(name(s, "a"), &in.a).dtype(RL_F32).shape({-1, k}).not_empty().dense();
    const int64_t rank = out.a.rows();
    RL_REQUIRE(rank <= kMaxRank, "segments[%d].a: expected a rank of at most %lld, found %lld", s,
               static_cast<long long>(kMaxRank), static_cast<long long>(rank));
    out.b = op.input(name(s, "b"), &in.b).dtype(RL_F32).shape({n, rank}).dense();
    if (!backward) continue;
    RL_REQUIRE((in.gradA.buffer == 0) == (in.gradB.buffer == 0),
               "segments[%d]: expected both gradA and gradB or neither", s);
    if (in.gradA.buffer == 0) continue;
    // One adapter may serve several runs of rows: its gradients add up, and are not an overlap.
    bool known = false;
    for (int32_t q = 0; q < s && !known; q++) {
      const LoraSegment &other = resolved[static_cast<size_t>(q)];
      known = other.gradA && other.a.rows() == rank && !std::memcmp(&segments[q].gradA, &in.gradA, sizeof(rl_tensor)) &&
              !std::memcmp(&segments[q].gradB, &in.gradB, sizeof(rl_tensor));
      if (known) out.gradA = other.gradA, out.gradB = other.gradB;
    }
    if (known) continue;
    out.gradA = op.output(name(s, "gradA"), &in.gradA).dtype(RL_F32).like(out.a).dense();
    out.gradB = op.output(name(s, "gradB"), &in.gradB).dtype(RL_F32).like(out.b).dense();
  }
  return resolved;
}

void require_room(const View &h, const std::vector<LoraSegment> &segments) {
  for (const LoraSegment &s : segments) {
    RL_REQUIRE(h.cols() >= s.a.rows(), "h: expected at least %lld columns, the largest rank, found %lld",
               static_cast<long long>(s.a.rows()), static_cast<long long>(h.cols()));
  }
}

}  // namespace

rl_status rl_lora(const rl_tensor *y, const rl_tensor *h, const rl_tensor *x, const rl_lora_segment *segments,
                  int32_t count, const rl_dropout *dropout) {
  return call("lora", [&](Op &op) {
    View vx = op.input("x", x).floating().rank(2).not_empty();
    View vy = op.output("y", y).floating().shape({vx.rows(), -1}).not_empty();
    View vh = op.output("h", h).dtype(RL_F32).shape({vx.rows(), -1});
    const rl_dropout d = checked(dropout);
    std::vector<std::string> names;
    const std::vector<LoraSegment> s = resolve(op, names, segments, count, vx.rows(), vx.cols(), vy.cols(), false);
    require_room(vh, s);
    op.no_alias();
    op.device().ops.lora(op.device(), vy, vh, vx, s.data(), count, d);
  });
}

rl_status rl_lora_backward(const rl_tensor *gradX, const rl_tensor *gradY, const rl_tensor *x, const rl_tensor *h,
                           const rl_lora_segment *segments, int32_t count, const rl_dropout *dropout) {
  return call("lora_backward", [&](Op &op) {
    View vx = op.input("x", x).floating().rank(2).not_empty();
    View vgy = op.input("gradY", gradY).floating().shape({vx.rows(), -1}).not_empty();
    View vh = op.input("h", h).dtype(RL_F32).shape({vx.rows(), -1});
    View vgx;
    if (gradX) vgx = op.output("gradX", gradX).floating().like(vx);
    const rl_dropout d = checked(dropout);
    std::vector<std::string> names;
    const std::vector<LoraSegment> s = resolve(op, names, segments, count, vx.rows(), vx.cols(), vgy.cols(), true);
    require_room(vh, s);
    op.no_alias();
    op.device().ops.lora_backward(op.device(), vgx, vgy, vx, vh, s.data(), count, d);
  });
}

rl_status rl_dropout_apply(const rl_tensor *y, const rl_tensor *x, const rl_dropout *dropout) {
  return call("dropout_apply", [&](Op &op) {
    View vx = op.input("x", x).floating().rank(2).not_empty();
    View vy = op.output("y", y).floating().like(vx);
    op.no_alias();
    op.device().ops.dropout_apply(op.device(), vy, vx, checked(dropout));
  });
}
