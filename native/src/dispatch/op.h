// The checks at the ABI: one Op per call resolves tensors, verifies them, and keeps the device locked until the call
// ends.
#pragma once

#include <initializer_list>
#include <mutex>
#include <vector>

#include "dispatch/registry.h"

namespace rl {

/// A tensor argument under examination; each method throws RL_INVALID_ARGUMENT naming op, argument, expected and found.
class Arg {
 public:
  Arg(const char *name, View view) : name_(name), view_(view) {}

  /// f32 or bf16.
  Arg &floating();
  /// f32, bf16 or f16: of the few ops that take what is stored in f16.
  Arg &floating_or_f16();
  Arg &dtype(int32_t dtype);
  Arg &rank(int32_t rank);
  /// The exact shape; -1 leaves a dimension free.
  Arg &shape(std::initializer_list<int64_t> shape);
  /// The shape (not the dtype) of another tensor.
  Arg &like(const View &other);
  /// Dense in every dimension. Without this call the first dimension may have a larger stride.
  Arg &dense();
  /// At least one element.
  Arg &not_empty();
  operator View() const { return view_; }

 private:
  const char *name_;
  View view_;
};

class Op {
 public:
  /// Tensor that is written. Optional tensors come back as an empty view when null was given.
  Arg output(const char *name, const rl_tensor *tensor) { return resolve(name, tensor, true); }
  Arg input(const char *name, const rl_tensor *tensor) { return resolve(name, tensor, false); }
  const Weight &weight(const char *name, rl_weight handle);

  /// No output may overlap another tensor of the call.
  void no_alias() const;
  /// As no_alias, but output `a` may be the very same view as input `b`.
  void may_alias(std::initializer_list<std::pair<const char *, const char *>> allowed) const;

  Device &device();

 private:
  struct Seen {
    const char *name;
    View view;
    bool output;
  };
  Arg resolve(const char *name, const rl_tensor *tensor, bool output);
  void remember(const char *name, const View &view, bool output);
  const Seen &seen(int i) const { return i < kFew ? few_[i] : more_[static_cast<size_t>(i - kFew)]; }
  void adopt(const char *name, const std::shared_ptr<Device> &device);

  std::shared_ptr<Device> device_;
  std::unique_lock<std::mutex> lock_;
  static constexpr int kFew = 24;
  Seen few_[kFew];          // no allocation in the common case
  std::vector<Seen> more_;  // lora_linear: four tensors per segment
  int count_ = 0;
};

/// Fails with RL_INVALID_ARGUMENT unless `ok`.
#define RL_REQUIRE(ok, ...)                                  \
  do {                                                       \
    if (!(ok)) ::rl::fail(RL_INVALID_ARGUMENT, __VA_ARGS__); \
  } while (0)

/// rl_xyz: checks, then one backend call.
template <class Body>
rl_status call(const char *name, Body &&body) noexcept {
  return guard(name, [&] {
    Op op;
    body(op);
  });
}

std::string shape_text(const View &view);
const char *dtype_name(int32_t dtype);

}  // namespace rl
