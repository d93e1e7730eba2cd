// The functions that -fsanitize=thread calls before every load and store: our own, in the place of libtsan's, which is not linked.
#include "emulator/checker.h"

#define RL_CODE __builtin_return_address(0)

namespace {

using rl::emulator::Access;
using rl::emulator::checker::touch;

/// Copies of whole objects: as words, whatever their size.
void touch_range(const void *p, size_t bytes, Access kind, const void *code) {
  const char *at = static_cast<const char *>(p);
  while (bytes > 0) {
    size_t part = 4;
    while (part > bytes || reinterpret_cast<uintptr_t>(at) % part != 0) part /= 2;
    touch(at, part, kind, nullptr, 0, code);
    at += part;
    bytes -= part;
  }
}

}  // namespace

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **) {}
void __tsan_read_range(void *p, size_t bytes) { touch_range(p, bytes, Access::read, RL_CODE); }
void __tsan_write_range(void *p, size_t bytes) { touch_range(p, bytes, Access::write, RL_CODE); }

#define RL_HOOKS(n)                                                                            \
  void __tsan_read##n(void *p) { touch(p, n, Access::read, nullptr, 0, RL_CODE); }             \
  void __tsan_write##n(void *p) { touch(p, n, Access::write, nullptr, 0, RL_CODE); }           \
  void __tsan_unaligned_read##n(void *p) { touch(p, n, Access::read, nullptr, 0, RL_CODE); }   \
  void __tsan_unaligned_write##n(void *p) { touch(p, n, Access::write, nullptr, 0, RL_CODE); } \
  void __tsan_volatile_read##n(void *p) { touch(p, n, Access::read, nullptr, 0, RL_CODE); }    \
  void __tsan_volatile_write##n(void *p) { touch(p, n, Access::write, nullptr, 0, RL_CODE); }
RL_HOOKS(1)
RL_HOOKS(2)
RL_HOOKS(4)
RL_HOOKS(8)
RL_HOOKS(16)
}
