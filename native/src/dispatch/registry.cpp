#include "dispatch/registry.h"

#include <vector>

namespace rl {
namespace {

// A handle is (generation << 32) | (slot + 1). A slot's generation changes when it is freed, so an old handle never
// matches a new tenant (until four billion reuses of one slot).
template <class T>
class Table {
 public:
  uint64_t add(T value) {
    uint32_t slot;
    if (free_.empty()) {
      slot = static_cast<uint32_t>(slots_.size());
      slots_.emplace_back();
    } else {
      slot = free_.back();
      free_.pop_back();
    }
    slots_[slot].value = std::move(value);
    slots_[slot].live = true;
    return (static_cast<uint64_t>(slots_[slot].generation) << 32) | (slot + 1);
  }

  T *find(uint64_t handle) {
    const uint64_t slot = (handle & 0xffffffffu) - 1;
    if ((handle & 0xffffffffu) == 0 || slot >= slots_.size()) return nullptr;
    Slot &s = slots_[slot];
    return s.live && s.generation == static_cast<uint32_t>(handle >> 32) ? &s.value : nullptr;
  }

  T remove(uint64_t handle) {
    Slot &s = slots_[(handle & 0xffffffffu) - 1];
    T value = std::move(s.value);
    s.value = T{};
    s.live = false;
    s.generation++;
    free_.push_back(static_cast<uint32_t>((handle & 0xffffffffu) - 1));
    return value;
  }

  template <class Predicate>
  std::vector<T> remove_if(Predicate &&predicate) {
    std::vector<T> removed;
    for (size_t i = 0; i < slots_.size(); i++) {
      if (slots_[i].live && predicate(slots_[i].value)) {
        removed.push_back(remove((static_cast<uint64_t>(slots_[i].generation) << 32) | (i + 1)));
      }
    }
    return removed;
  }

 private:
  struct Slot {
    T value{};
    uint32_t generation = 1;
    bool live = false;
  };
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
};

// Lock order: a device's mutex first, then this one. Held for look-ups only.
std::mutex tables_mutex;
Table<std::shared_ptr<Device>> devices;
Table<Buffer> buffers;
Table<WeightEntry> weights;

}  // namespace

rl_device register_device(std::shared_ptr<Device> device) {
  std::lock_guard lock(tables_mutex);
  return devices.add(std::move(device));
}

std::shared_ptr<Device> find_device(rl_device handle) {
  std::lock_guard lock(tables_mutex);
  auto *device = devices.find(handle);
  if (!device) fail(RL_INVALID_HANDLE, "device is closed or was never opened");
  return *device;
}

void close_device(rl_device handle) {
  std::shared_ptr<Device> device = find_device(handle);
  std::lock_guard device_lock(device->mutex);
  std::vector<Buffer> old_buffers;
  std::vector<WeightEntry> old_weights;
  {
    std::lock_guard lock(tables_mutex);
    if (!devices.find(handle)) fail(RL_INVALID_HANDLE, "device is closed or was never opened");
    devices.remove(handle);
    old_buffers = buffers.remove_if([&](const Buffer &b) { return b.device == device; });
    old_weights = weights.remove_if([&](const WeightEntry &w) { return w.device == device; });
  }
  old_weights.clear();
  for (Buffer &b : old_buffers) device->release(b.data, b.bytes);
  device->trim();
}

rl_buffer register_buffer(Buffer buffer) {
  std::lock_guard lock(tables_mutex);
  return buffers.add(std::move(buffer));
}

bool find_buffer(rl_buffer handle, Buffer &out) {
  std::lock_guard lock(tables_mutex);
  Buffer *b = buffers.find(handle);
  if (b) out = *b;
  return b != nullptr;
}

void free_buffer(rl_buffer handle) {
  Buffer buffer;
  if (!find_buffer(handle, buffer)) fail(RL_INVALID_HANDLE, "buffer is closed or was never opened");
  std::lock_guard device_lock(buffer.device->mutex);
  {
    std::lock_guard lock(tables_mutex);
    if (!buffers.find(handle)) fail(RL_INVALID_HANDLE, "buffer is closed or was never opened");
    buffers.remove(handle);
  }
  buffer.device->release(buffer.data, buffer.bytes);
}

rl_weight register_weight(WeightEntry entry) {
  std::lock_guard lock(tables_mutex);
  return weights.add(std::move(entry));
}

bool find_weight(rl_weight handle, WeightEntry &out) {
  std::lock_guard lock(tables_mutex);
  WeightEntry *w = weights.find(handle);
  if (w) out = *w;
  return w != nullptr;
}

void free_weight(rl_weight handle) {
  WeightEntry entry;
  if (!find_weight(handle, entry)) fail(RL_INVALID_HANDLE, "weight is closed or was never opened");
  std::lock_guard device_lock(entry.device->mutex);
  WeightEntry removed;
  {
    std::lock_guard lock(tables_mutex);
    if (!weights.find(handle)) fail(RL_INVALID_HANDLE, "weight is closed or was never opened");
    removed = weights.remove(handle);
  }
  entry.weight.reset();
  removed.weight.reset();  // the last owner: its memory goes back under the device's mutex
}

}  // namespace rl
