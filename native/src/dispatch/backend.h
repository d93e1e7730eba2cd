// What a backend is: a Device that owns memory and weights, and a table with one function for every op of ops.def.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>

#include "dispatch/error.h"
#include "dispatch/view.h"

namespace rl {

class Device;

/// The matrix of a linear layer, [n,k] as checkpoints store it, in the backend's layout.
class Weight {
 public:
  Weight(int64_t n, int64_t k, int32_t dtype) : n(n), k(k), dtype(dtype) {}
  virtual ~Weight() = default;
  Weight(const Weight &) = delete;
  Weight &operator=(const Weight &) = delete;

  const int64_t n;
  const int64_t k;
  const int32_t dtype;  // of the activations it multiplies
};

/// rl_lora_segment after its checks. gradA and gradB are both given or both absent.
struct LoraSegment {
  int64_t begin;
  int64_t end;
  float scale;
  View a;  // f32 [r,K]
  View b;  // f32 [N,r]
  View gradA;
  View gradB;
};

/// rl_lora after its checks.
struct Lora {
  int64_t from;
  int64_t to;
  View h;  // f32 [T,R]
  const LoraSegment *segments;
  int32_t count;
  rl_dropout dropout;
};

/// rl_nf4 after its checks. nestedCode, nestedAbsmax and offset are given where absmax is u8.
struct Nf4 {
  int64_t rows;
  int64_t cols;
  View codes;
  View absmax;
  View nestedCode;
  View nestedAbsmax;
  View offset;
};

/// One function for every op. All arguments are checked before; a kernel checks only what lies in tensors (ids, offsets).
struct Ops {
#define RL_OP(name, ...) void (*name)(Device & device, __VA_ARGS__);
#include "dispatch/ops.def"
#undef RL_OP
};

/// The handles that an open recording has met, and whose it is.
struct RecordedUses {
  std::thread::id thread = std::this_thread::get_id();
  std::unordered_set<rl_buffer> buffers;
  std::unordered_set<rl_weight> weights;
};

/// Ops that are launched as one. Lives no longer than its device.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void launch() = 0;
};

/// An open device. Its mutex serialises the calls on it and guards the lifetime of its buffers.
class Device {
 public:
  explicit Device(const Ops &ops) : ops(ops) {}
  virtual ~Device() = default;
  Device(const Device &) = delete;
  Device &operator=(const Device &) = delete;

  virtual void *allocate(int64_t bytes) = 0;  // 64-byte aligned; throws RL_OUT_OF_MEMORY
  virtual void release(void *memory, int64_t bytes) noexcept = 0;
  virtual void trim() noexcept = 0;
  virtual void copy_from_host(void *dst, const void *src, int64_t bytes) = 0;
  virtual void copy_to_host(void *dst, const void *src, int64_t bytes) = 0;
  virtual std::unique_ptr<Weight> pack(View w, bool for_backward) = 0;
  virtual std::unique_ptr<Weight> view(View w) = 0;
  /// The parts' rows joined; all have the same columns and the same dtype of absmax.
  virtual std::unique_ptr<Weight> pack_nf4(const Nf4 *parts, int32_t count, int32_t dtype) = 0;
  virtual void synchronize() = 0;
  virtual std::string describe() = 0;
  virtual void memory(int64_t &in_use, int64_t &peak, int64_t &reserved) = 0;
  virtual void capacity(int64_t &free, int64_t &total) = 0;
  virtual void reset_peak() = 0;
  /// Called with the mutex held before each op: thread settings, scratch memory of the op before given back.
  virtual void begin_op() = 0;

  virtual bool can_record() { return false; }
  /// What is called from here on is noted instead of done. Not while another recording is open.
  virtual void begin_recording() { fail(RL_UNSUPPORTED, "this device does each op at once and records none"); }
  /// `keep`: else null comes back. The recording is over also where this throws.
  virtual std::unique_ptr<Recording> end_recording(bool) { return nullptr; }

  const Ops &ops;
  std::mutex mutex;
  std::unique_ptr<RecordedUses> noting;  // while a recording is open

  /// Throws if a recording is open that is another thread's.
  void require_thread() const {
    if (noting && noting->thread != std::this_thread::get_id()) {
      fail(RL_INVALID_ARGUMENT, "the device is recording what another thread calls");
    }
  }
};

/// Opens device `index` of a backend; null if the backend has no such device.
std::unique_ptr<Device> open_cpu_device(int32_t index, int32_t threads);

}  // namespace rl
