#include "dispatch/op.h"

#include <cstring>

namespace rl {

const char *dtype_name(int32_t dtype) {
  switch (dtype) {
    case RL_F32:
      return "f32";
    case RL_BF16:
      return "bf16";
    case RL_F16:
      return "f16";
    case RL_I32:
      return "i32";
    case RL_U8:
      return "u8";
    default:
      return "unknown dtype";
  }
}

static std::string dims_text(const int64_t *dims, size_t rank) {
  std::string text = "[";
  for (size_t i = 0; i < rank; i++) {
    if (i) text += ",";
    text += dims[i] < 0 ? "*" : std::to_string(dims[i]);
  }
  return text + "]";
}

std::string shape_text(const View &view) { return dims_text(view.shape, static_cast<size_t>(view.rank)); }

Arg &Arg::floating() {
  RL_REQUIRE(view_.dtype == RL_F32 || view_.dtype == RL_BF16, "%s: expected f32 or bf16, found %s", name_,
             dtype_name(view_.dtype));
  return *this;
}

Arg &Arg::floating_or_f16() {
  RL_REQUIRE(view_.dtype == RL_F32 || view_.dtype == RL_BF16 || view_.dtype == RL_F16,
             "%s: expected f32, bf16 or f16, found %s", name_, dtype_name(view_.dtype));
  return *this;
}

Arg &Arg::dtype(int32_t dtype) {
  RL_REQUIRE(view_.dtype == dtype, "%s: expected dtype %s, found %s", name_, dtype_name(dtype),
             dtype_name(view_.dtype));
  return *this;
}

Arg &Arg::rank(int32_t rank) {
  RL_REQUIRE(view_.rank == rank, "%s: expected rank %d, found shape %s", name_, rank, shape_text(view_).c_str());
  return *this;
}

Arg &Arg::shape(std::initializer_list<int64_t> shape) {
  bool same = view_.rank == static_cast<int32_t>(shape.size());
  for (size_t i = 0; same && i < shape.size(); i++) {
    const int64_t want = shape.begin()[i];
    same = want < 0 || want == view_.shape[i];
  }
  RL_REQUIRE(same, "%s: expected shape %s, found %s", name_, dims_text(shape.begin(), shape.size()).c_str(),
             shape_text(view_).c_str());
  return *this;
}

Arg &Arg::like(const View &other) {
  bool same = view_.rank == other.rank;
  for (int i = 0; same && i < other.rank; i++) same = view_.shape[i] == other.shape[i];
  RL_REQUIRE(same, "%s: expected shape %s, found %s", name_, shape_text(other).c_str(), shape_text(view_).c_str());
  return *this;
}

Arg &Arg::dense() {
  RL_REQUIRE(view_.rank == 0 || view_.shape[0] <= 1 || view_.stride[0] == view_.cols(),
             "%s: expected a dense tensor, found row stride %lld for %lld columns", name_,
             static_cast<long long>(view_.stride[0]), static_cast<long long>(view_.cols()));
  return *this;
}

Arg &Arg::not_empty() {
  RL_REQUIRE(view_.elements() > 0, "%s: expected at least one element, found shape %s", name_,
             shape_text(view_).c_str());
  return *this;
}

void Op::adopt(const char *name, const std::shared_ptr<Device> &device) {
  if (!device_) {
    device_ = device;
    lock_ = std::unique_lock(device_->mutex);
    device_->require_thread();
    device_->begin_op();
  }
  RL_REQUIRE(device_ == device, "%s: expected a tensor of the same device as the first one, found another device's",
             name);
}

Device &Op::device() { return *device_; }

Arg Op::resolve(const char *name, const rl_tensor *tensor, bool output) {
  if (!tensor) fail(RL_INVALID_ARGUMENT, "%s: expected a tensor, found null", name);
  const rl_tensor t = *tensor;
  Buffer buffer;
  if (!find_buffer(t.buffer, buffer)) fail(RL_INVALID_HANDLE, "%s: its buffer is closed or was never opened", name);
  adopt(name, buffer.device);
  // Looked up again under the device's lock: nobody can free it from here on.
  if (!find_buffer(t.buffer, buffer)) fail(RL_INVALID_HANDLE, "%s: its buffer is closed or was never opened", name);
  if (device_->noting) device_->noting->buffers.insert(t.buffer);

  const int64_t size = dtype_size(t.dtype);
  RL_REQUIRE(size > 0, "%s: expected a dtype of rl_dtype, found %d", name, t.dtype);
  RL_REQUIRE(t.rank >= 0 && t.rank <= RL_MAX_RANK, "%s: expected rank 0 to %d, found %d", name, RL_MAX_RANK, t.rank);
  View v;
  v.dtype = t.dtype;
  v.rank = t.rank;
  const int64_t limit = int64_t{1} << 46;
  int64_t inner = 1;  // elements of the dense dimensions so far
  for (int i = t.rank - 1; i >= 0; i--) {
    RL_REQUIRE(t.shape[i] >= 0 && t.shape[i] < limit, "%s: dimension %d is %lld", name, i,
               static_cast<long long>(t.shape[i]));
    if (i == 0) {
      RL_REQUIRE(t.shape[0] <= 1 || t.stride[0] >= inner, "%s: row stride %lld is below the row's %lld elements", name,
                 static_cast<long long>(t.stride[0]), static_cast<long long>(inner));
      RL_REQUIRE(t.stride[0] < limit, "%s: row stride %lld", name, static_cast<long long>(t.stride[0]));
    } else {
      RL_REQUIRE(t.shape[i] <= 1 || t.stride[i] == inner,
                 "%s: expected all dimensions but the first to be dense, found stride %lld in dimension %d, not %lld",
                 name, static_cast<long long>(t.stride[i]), i, static_cast<long long>(inner));
    }
    v.shape[i] = t.shape[i];
    v.stride[i] = i == 0 && t.shape[0] > 1 ? t.stride[0] : inner;
    RL_REQUIRE(t.shape[i] == 0 || inner <= limit / t.shape[i], "%s: too many elements", name);
    inner *= t.shape[i];
  }
  int64_t span = inner;  // elements from the first to the last, inclusive
  if (t.rank > 0 && inner > 0) {
    RL_REQUIRE(v.shape[0] <= 1 || v.stride[0] <= limit / v.shape[0], "%s: too many elements", name);
    span = (v.shape[0] - 1) * v.stride[0] + v.cols();
  }
  RL_REQUIRE(t.offset >= 0 && t.offset % size == 0, "%s: offset %lld is not a multiple of the element's %lld bytes",
             name, static_cast<long long>(t.offset), static_cast<long long>(size));
  RL_REQUIRE(t.offset <= buffer.bytes && span * size <= buffer.bytes - t.offset,
             "%s: shape %s of %s needs %lld bytes from offset %lld on, its buffer has %lld", name,
             shape_text(v).c_str(), dtype_name(t.dtype), static_cast<long long>(span * size),
             static_cast<long long>(t.offset), static_cast<long long>(buffer.bytes));
  v.data = static_cast<char *>(buffer.data) + t.offset;
  remember(name, v, output);
  return Arg(name, v);
}

void Op::remember(const char *name, const View &view, bool output) {
  if (count_ < kFew) {
    few_[count_] = {name, view, output};
  } else {
    more_.push_back({name, view, output});
  }
  count_++;
}

const Weight &Op::weight(const char *name, rl_weight handle) {
  const std::shared_ptr<Device> device = device_of_weight(handle);
  if (!device) fail(RL_INVALID_HANDLE, "%s: the weight is closed or was never opened", name);
  adopt(name, device);
  WeightEntry entry;
  if (!find_weight(handle, entry)) fail(RL_INVALID_HANDLE, "%s: the weight is closed or was never opened", name);
  Buffer viewed;
  if (entry.viewed && !find_buffer(entry.viewed, viewed)) {
    fail(RL_INVALID_HANDLE, "%s: the buffer that the weight refers to is closed", name);
  }
  if (entry.viewed) remember(name, entry.view, false);
  if (device_->noting) {
    device_->noting->weights.insert(handle);
    if (entry.viewed) device_->noting->buffers.insert(entry.viewed);
  }
  return *entry.weight;  // alive while the device is locked
}

static bool overlap(const View &a, const View &b) {
  if (a.elements() == 0 || b.elements() == 0) return false;
  const int64_t size_a = dtype_size(a.dtype), size_b = dtype_size(b.dtype);
  const char *a0 = static_cast<const char *>(a.data), *b0 = static_cast<const char *>(b.data);
  const int64_t width_a = a.cols() * size_a, width_b = b.cols() * size_b;
  const int64_t step_a = a.stride[0] * size_a, step_b = b.stride[0] * size_b;
  const char *a1 = a0 + (a.shape[0] - 1) * step_a + width_a, *b1 = b0 + (b.shape[0] - 1) * step_b + width_b;
  if (a1 <= b0 || b1 <= a0) return false;
  // Column slices of one matrix interleave without touching.
  if (a.shape[0] > 1 && b.shape[0] > 1 && step_a == step_b) {
    const int64_t shift = (((b0 - a0) % step_a) + step_a) % step_a;
    return !(shift >= width_a && shift + width_b <= step_a);
  }
  return true;
}

static bool same(const View &a, const View &b) {
  return a.data == b.data && a.dtype == b.dtype && a.elements() == b.elements() && a.stride[0] == b.stride[0];
}

void Op::no_alias() const { may_alias({}); }

void Op::may_alias(std::initializer_list<std::pair<const char *, const char *>> allowed) const {
  for (int i = 0; i < count_; i++) {
    const Seen &a = seen(i);
    if (!a.output) continue;
    for (int j = 0; j < count_; j++) {
      const Seen &b = seen(j);
      if (i == j || (b.output && j < i) || !overlap(a.view, b.view)) continue;
      bool fine = false;
      for (const auto &pair : allowed) {
        fine |= !std::strcmp(pair.first, a.name) && !std::strcmp(pair.second, b.name) && same(a.view, b.view);
      }
      RL_REQUIRE(fine, "%s: expected memory of its own, found that it overlaps %s", a.name, b.name);
    }
  }
}

}  // namespace rl
