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
      free_.reserve(slots_.capacity());  // so that remove() cannot fail
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

  T remove(uint64_t handle) noexcept {
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
    removed.reserve(slots_.size() - free_.size());
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

struct Tables {
  std::mutex mutex;  // lock order: a device's mutex first, then this one; held for look-ups only
  Table<std::shared_ptr<Device>> devices;
  Table<Buffer> buffers;
  Table<WeightEntry> weights;
  Table<RecordingEntry> recordings;
};

// Never destroyed: a process may end while threads of the JVM are still inside an op.
Tables &tables = *new Tables;

}  // namespace

rl_device register_device(std::shared_ptr<Device> device) {
  std::lock_guard lock(tables.mutex);
  return tables.devices.add(std::move(device));
}

std::shared_ptr<Device> find_device(rl_device handle) {
  std::lock_guard lock(tables.mutex);
  auto *device = tables.devices.find(handle);
  if (!device) fail(RL_INVALID_HANDLE, "device is closed or was never opened");
  return *device;
}

void close_device(rl_device handle) {
  std::shared_ptr<Device> device = find_device(handle);
  std::lock_guard device_lock(device->mutex);
  std::vector<Buffer> old_buffers;
  std::vector<WeightEntry> old_weights;
  std::vector<RecordingEntry> old_recordings;
  if (device->noting) {
    device->noting.reset();
    device->end_recording(false);
  }
  {
    std::lock_guard lock(tables.mutex);
    if (!tables.devices.find(handle)) fail(RL_INVALID_HANDLE, "device is closed or was never opened");
    old_buffers = tables.buffers.remove_if([&](const Buffer &b) { return b.device == device; });
    old_weights = tables.weights.remove_if([&](const WeightEntry &w) { return w.device == device; });
    old_recordings = tables.recordings.remove_if([&](const RecordingEntry &r) { return r.device == device; });
    tables.devices.remove(handle);
  }
  old_recordings.clear();
  old_weights.clear();
  for (Buffer &b : old_buffers) device->release(b.data, b.bytes);
  device->trim();
}

rl_buffer register_buffer(Buffer buffer) {
  std::lock_guard lock(tables.mutex);
  return tables.buffers.add(std::move(buffer));
}

bool find_buffer(rl_buffer handle, Buffer &out) {
  std::lock_guard lock(tables.mutex);
  Buffer *b = tables.buffers.find(handle);
  if (b) out = *b;
  return b != nullptr;
}

void free_buffer(rl_buffer handle) {
  Buffer buffer;
  if (!find_buffer(handle, buffer)) fail(RL_INVALID_HANDLE, "buffer is closed or was never opened");
  std::lock_guard device_lock(buffer.device->mutex);
  {
    std::lock_guard lock(tables.mutex);
    if (!tables.buffers.find(handle)) fail(RL_INVALID_HANDLE, "buffer is closed or was never opened");
    tables.buffers.remove(handle);
  }
  buffer.device->release(buffer.data, buffer.bytes);
}

rl_weight register_weight(WeightEntry entry) {
  std::lock_guard lock(tables.mutex);
  return tables.weights.add(std::move(entry));
}

std::shared_ptr<Device> device_of_weight(rl_weight handle) {
  std::lock_guard lock(tables.mutex);
  const WeightEntry *w = tables.weights.find(handle);
  return w ? w->device : nullptr;
}

bool find_weight(rl_weight handle, WeightEntry &out) {
  std::lock_guard lock(tables.mutex);
  const WeightEntry *w = tables.weights.find(handle);
  if (w) out = *w;
  return w != nullptr;
}

void free_weight(rl_weight handle) {
  const std::shared_ptr<Device> device = device_of_weight(handle);
  if (!device) fail(RL_INVALID_HANDLE, "weight is closed or was never opened");
  std::lock_guard device_lock(device->mutex);
  WeightEntry removed;  // the last owner: its memory goes back under the device's mutex
  std::lock_guard lock(tables.mutex);
  if (!tables.weights.find(handle)) fail(RL_INVALID_HANDLE, "weight is closed or was never opened");
  removed = tables.weights.remove(handle);
}

rl_recording register_recording(std::shared_ptr<Device> device, std::shared_ptr<Recording> recording,
                                const RecordedUses &noted) {
  RecordingEntry entry{std::move(device), std::move(recording), {}, {}};
  std::lock_guard lock(tables.mutex);
  for (rl_buffer b : noted.buffers) {
    if (tables.buffers.find(b)) entry.buffers.push_back(b);
  }
  for (rl_weight w : noted.weights) {
    if (tables.weights.find(w)) entry.weights.push_back(w);
  }
  return tables.recordings.add(std::move(entry));
}

static std::shared_ptr<Device> device_of_recording(rl_recording handle) {
  std::lock_guard lock(tables.mutex);
  const RecordingEntry *r = tables.recordings.find(handle);
  if (!r) fail(RL_INVALID_HANDLE, "recording is closed or was never made");
  return r->device;
}

void launch_recording(rl_recording handle) {
  const std::shared_ptr<Device> device = device_of_recording(handle);
  std::lock_guard device_lock(device->mutex);
  std::shared_ptr<Recording> recording;
  {
    std::lock_guard lock(tables.mutex);
    const RecordingEntry *r = tables.recordings.find(handle);
    if (!r) fail(RL_INVALID_HANDLE, "recording is closed or was never made");
    for (rl_buffer b : r->buffers) {
      if (!tables.buffers.find(b)) fail(RL_INVALID_HANDLE, "a buffer that the recording uses was closed");
    }
    for (rl_weight w : r->weights) {
      if (!tables.weights.find(w)) fail(RL_INVALID_HANDLE, "a weight that the recording uses was closed");
    }
    recording = r->recording;
  }
  if (device->noting) fail(RL_INVALID_ARGUMENT, "expected a device that does not record, found an open recording");
  device->begin_op();
  recording->launch();
}

void free_recording(rl_recording handle) {
  const std::shared_ptr<Device> device = device_of_recording(handle);
  std::lock_guard device_lock(device->mutex);
  RecordingEntry removed;  // the last owner: its memory goes back under the device's mutex
  std::lock_guard lock(tables.mutex);
  if (!tables.recordings.find(handle)) fail(RL_INVALID_HANDLE, "recording is closed or was never made");
  removed = tables.recordings.remove(handle);
}

}  // namespace rl
