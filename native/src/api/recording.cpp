#include "dispatch/op.h"

using namespace rl;

rl_status rl_device_can_record(int32_t *can_record, rl_device device) {
  return guard("device_can_record", [&] {
    RL_REQUIRE(can_record, "can_record: expected a place for a number, found null");
    *can_record = find_device(device)->can_record();
  });
}

rl_status rl_recording_begin(rl_device device) {
  return guard("recording_begin", [&] {
    auto d = find_device(device);
    std::lock_guard lock(d->mutex);
    RL_REQUIRE(!d->noting, "device: expected one that does not record, found an open recording");
    auto noting = std::make_unique<RecordedUses>();
    d->begin_recording();
    d->noting = std::move(noting);
  });
}

rl_status rl_recording_end(rl_recording *recording, rl_device device) {
  return guard("recording_end", [&] {
    auto d = find_device(device);
    std::lock_guard lock(d->mutex);
    RL_REQUIRE(d->noting, "device: expected an open recording, found none");
    d->require_thread();
    const std::unique_ptr<RecordedUses> noted = std::move(d->noting);
    std::shared_ptr<Recording> made = d->end_recording(recording != nullptr);
    if (recording) *recording = register_recording(d, std::move(made), *noted);
  });
}

rl_status rl_recording_launch(rl_recording recording) {
  return guard("recording_launch", [&] { launch_recording(recording); });
}

rl_status rl_recording_free(rl_recording recording) {
  return guard("recording_free", [&] { free_recording(recording); });
}
