// Handles: numbers that name devices, buffers, weights and recordings. A closed handle is found out, never followed.
#pragma once

#include <memory>
#include <vector>

#include "dispatch/backend.h"

namespace rl {

struct Buffer {
  std::shared_ptr<Device> device;
  void *data;
  int64_t bytes;
};

struct WeightEntry {
  std::shared_ptr<Device> device;
  std::shared_ptr<Weight> weight;
  rl_buffer viewed;  // the buffer a view refers to, which must be alive at each use; 0 for packed weights
  View view;         // what it refers to there: outputs must not overlap it
};

struct RecordingEntry {
  std::shared_ptr<Device> device;
  std::shared_ptr<Recording> recording;
  std::vector<rl_buffer> buffers;  // what it refers to, which must be alive at each launch
  std::vector<rl_weight> weights;
};

rl_device register_device(std::shared_ptr<Device> device);
std::shared_ptr<Device> find_device(rl_device handle);
/// Removes the device with all of its buffers and weights.
void close_device(rl_device handle);

rl_buffer register_buffer(Buffer buffer);
/// False if the handle is closed or was never opened.
bool find_buffer(rl_buffer handle, Buffer &out);
void free_buffer(rl_buffer handle);

rl_weight register_weight(WeightEntry entry);
/// Null if the handle is closed or was never opened.
std::shared_ptr<Device> device_of_weight(rl_weight handle);
/// Only with the mutex of the weight's device held, under which the entry must die again: it may be the last owner.
bool find_weight(rl_weight handle, WeightEntry &out);
void free_weight(rl_weight handle);

/// Of what `noted` has met, that which is still alive.
rl_recording register_recording(std::shared_ptr<Device> device, std::shared_ptr<Recording> recording,
                                const RecordedUses &noted);
void launch_recording(rl_recording handle);
void free_recording(rl_recording handle);

}  // namespace rl
