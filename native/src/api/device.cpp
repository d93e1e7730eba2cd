// Library, devices, buffers, weights: the functions of rlhf4j.h that are not ops.
#include <cstdio>
#include <cstring>

#include "dispatch/op.h"
#include "dispatch/plugin.h"

using namespace rl;

int32_t rl_abi_version(void) { return RL_ABI_VERSION; }

const char *rl_build_info(void) {
  static const std::string text = format("rlhf4j 0.1.0, ABI %d, %s, backends: %s", RL_ABI_VERSION,
#if defined(__clang__)
                                         "clang " __clang_version__
#else
                                         "gcc " __VERSION__
#endif
                                         ,
                                         list_backends().c_str());
  return text.c_str();
}

rl_status rl_device_open(rl_device *device, const char *backend, int32_t index, int32_t threads) {
  return guard("device_open", [&] {
    RL_REQUIRE(device, "device: expected a place for the handle, found null");
    RL_REQUIRE(backend, "backend: expected a name, found null");
    RL_REQUIRE(threads >= 0 && threads <= 1024, "threads: expected 0 (all cores) to 1024, found %d", threads);
    if (std::strcmp(backend, "cpu") != 0) {
      RL_REQUIRE(index >= 0, "index: expected 0 or more, found %d", index);
      *device = register_device(find_backend(backend).open(index));
      return;
    }
    RL_REQUIRE(index == 0, "index: the cpu backend has device 0 only, found %d", index);
    *device = register_device(open_cpu_device(index, threads));
  });
}

rl_status rl_device_close(rl_device device) {
  return guard("device_close", [&] { close_device(device); });
}

rl_status rl_device_describe(char *text, int64_t capacity, rl_device device) {
  return guard("device_describe", [&] {
    RL_REQUIRE(text && capacity > 0, "text: expected a place for at least one byte");
    std::snprintf(text, static_cast<size_t>(capacity), "%s", find_device(device)->describe().c_str());
  });
}

rl_status rl_device_synchronize(rl_device device) {
  return guard("device_synchronize", [&] {
    auto d = find_device(device);
    std::lock_guard lock(d->mutex);
    d->synchronize();
  });
}

rl_status rl_device_memory(int64_t *in_use, int64_t *peak, int64_t *reserved, rl_device device) {
  return guard("device_memory", [&] {
    RL_REQUIRE(in_use && peak && reserved, "in_use, peak, reserved: expected places for three numbers, found null");
    auto d = find_device(device);
    std::lock_guard lock(d->mutex);
    d->memory(*in_use, *peak, *reserved);
  });
}

rl_status rl_device_capacity(int64_t *free, int64_t *total, rl_device device) {
  return guard("device_capacity", [&] {
    RL_REQUIRE(free && total, "free, total: expected places for two numbers, found null");
    auto d = find_device(device);
    std::lock_guard lock(d->mutex);
    d->capacity(*free, *total);
  });
}

rl_status rl_device_reset_peak(rl_device device) {
  return guard("device_reset_peak", [&] {
    auto d = find_device(device);
    std::lock_guard lock(d->mutex);
    d->reset_peak();
  });
}

rl_status rl_device_trim(rl_device device) {
  return guard("device_trim", [&] {
    auto d = find_device(device);
    std::lock_guard lock(d->mutex);
    d->trim();
  });
}

rl_status rl_buffer_alloc(rl_buffer *buffer, rl_device device, int64_t bytes) {
  return guard("buffer_alloc", [&] {
    RL_REQUIRE(buffer, "buffer: expected a place for the handle, found null");
    RL_REQUIRE(bytes >= 0, "bytes: expected 0 or more, found %lld", static_cast<long long>(bytes));
    auto d = find_device(device);
    std::lock_guard lock(d->mutex);
    find_device(device);  // not closed while we waited
    d->require_thread();
    void *data = d->allocate(bytes);
    try {
      *buffer = register_buffer({d, data, bytes});
    } catch (...) {
      d->release(data, bytes);
      throw;
    }
  });
}

rl_status rl_buffer_free(rl_buffer buffer) {
  return guard("buffer_free", [&] { free_buffer(buffer); });
}

rl_status rl_copy_from_host(const rl_tensor *dst, const void *src, int64_t bytes) {
  return call("copy_from_host", [&](Op &op) {
    View d = op.output("dst", dst).dense();
    RL_REQUIRE(src || bytes == 0, "src: expected host memory, found null");
    RL_REQUIRE(bytes == d.elements() * dtype_size(d.dtype), "bytes: expected the tensor's %lld, found %lld",
               static_cast<long long>(d.elements() * dtype_size(d.dtype)), static_cast<long long>(bytes));
    op.device().copy_from_host(d.data, src, bytes);
  });
}

rl_status rl_copy_to_host(void *dst, const rl_tensor *src, int64_t bytes) {
  return call("copy_to_host", [&](Op &op) {
    View s = op.input("src", src).dense();
    RL_REQUIRE(dst || bytes == 0, "dst: expected host memory, found null");
    RL_REQUIRE(bytes == s.elements() * dtype_size(s.dtype), "bytes: expected the tensor's %lld, found %lld",
               static_cast<long long>(s.elements() * dtype_size(s.dtype)), static_cast<long long>(bytes));
    op.device().copy_to_host(dst, s.data, bytes);
  });
}

static rl_status make_weight(const char *name, rl_weight *weight, const rl_tensor *w, bool packed, bool for_backward) {
  return call(name, [&](Op &op) {
    RL_REQUIRE(weight, "weight: expected a place for the handle, found null");
    View v = op.input("w", w).floating().rank(2).not_empty().dense();
    Buffer buffer;
    find_buffer(w->buffer, buffer);
    std::shared_ptr<Weight> made = packed ? op.device().pack(v, for_backward) : op.device().view(v);
    *weight = register_weight({buffer.device, std::move(made), packed ? 0 : w->buffer, packed ? View{} : v});
  });
}

rl_status rl_weight_pack(rl_weight *weight, const rl_tensor *w, int32_t for_backward) {
  return make_weight("weight_pack", weight, w, true, for_backward != 0);
}

rl_status rl_weight_view(rl_weight *weight, const rl_tensor *w) {
  return make_weight("weight_view", weight, w, false, false);
}

rl_status rl_weight_free(rl_weight weight) {
  return guard("weight_free", [&] { free_weight(weight); });
}
