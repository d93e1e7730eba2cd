// The checker: a shadow cell for each byte of global, pinned and shared memory, and a clock that advances with every barrier.
// Found are races, accesses outside of what was allocated, misaligned vectors, reads of what nobody wrote, and touching the
// bytes of an asynchronous copy. All of it does nothing in a library that is built without (checked = false).
#pragma once

#include <cstddef>

#include "emulator/block.h"

namespace rl::emulator {

/// Whether kernels are instrumented: one library is, one is not. Defined by each.
extern const bool checked;

namespace checker {

void begin_launch();
void begin_block();
void barrier();
void warp_barrier(int warp);

/// An access by the running thread. `code` where there is no file.
void touch(const void *p, size_t bytes, Access kind, const char *file, int line, const void *code);

void copy_starts(const void *dst, size_t bytes, const char *file, int line);
void copy_ends(const void *dst, size_t bytes, const char *file, int line);

/// The host's allocator gave `bytes` of a block out; their values are nobody's yet. 0: it came back.
void lend(const void *block, size_t bytes);
/// The host wrote these bytes.
void written(const void *p, size_t bytes);
/// The device copied these bytes: what nobody wrote stays so.
void copied(const void *dst, const void *src, size_t bytes);
/// Whether the host may copy all of these bytes.
bool is_lent(const void *p, size_t bytes);

void begin_shared(size_t dynamic);
void shared_array(const void *array, size_t bytes);

}  // namespace checker
}  // namespace rl::emulator
