// What a kernel sees in place of nvcc's world when it is compiled as C++ for the emulator: built-in variables, barriers,
// shuffles, atomics, and the primitives that are PTX on a GPU. Functions take their caller's file and line by default arguments.
#pragma once

#include <vector_functions.h>
#include <vector_types.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "emulator/block.h"
#include "emulator/registry.h"

#define RL_WHERE const char *file = __builtin_FILE(), int line = __builtin_LINE()
// Not seen by the checker: the function reports its accesses itself.
#define RL_UNCHECKED __attribute__((no_sanitize("thread")))

#undef __forceinline__
#define KERNEL(name, threads, ...)                                                      \
  static void name(__VA_ARGS__);                                                        \
  static const ::rl::emulator::Registration name##_registration(#name, &name, threads); \
  static void name(__VA_ARGS__)
#define KERNEL_BLOCKS(name, threads, blocks, ...) KERNEL(name, threads, __VA_ARGS__)
#define DEVICE static inline
#define DEVICE_MEMBER inline
#define SHARED(type, name, dims)    \
  static const char name##_key = 0; \
  type(&name) dims = *static_cast<type(*) dims>(::rl::emulator::shared_array(&name##_key, sizeof(type dims), #name))
#define SHARED_DYNAMIC(name) auto *name = static_cast<unsigned char *>(::rl::emulator::dynamic_shared())

#define threadIdx (::rl::emulator::this_thread->index)
#define blockIdx (::rl::emulator::this_block)
#define blockDim (::rl::emulator::block_size)
#define gridDim (::rl::emulator::grid_size)

inline void __syncthreads(RL_WHERE) { rl::emulator::block_barrier(file, line); }
inline void __syncwarp(unsigned mask = 0xffffffffu, RL_WHERE) { rl::emulator::warp_barrier(mask, file, line); }

namespace rl::emulator {
template <class T>
RL_UNCHECKED inline T shuffle(Shuffle kind, unsigned mask, T value, int x, int width, const char *file, int line) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = warp_shuffle(kind, mask, bits, x, width, file, line);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
}  // namespace rl::emulator

template <class T>
RL_UNCHECKED inline T __shfl_sync(unsigned mask, T v, int source, int width = 32, RL_WHERE) {
  return rl::emulator::shuffle(rl::emulator::Shuffle::index, mask, v, source, width, file, line);
}
template <class T>
RL_UNCHECKED inline T __shfl_up_sync(unsigned mask, T v, int by, int width = 32, RL_WHERE) {
  return rl::emulator::shuffle(rl::emulator::Shuffle::up, mask, v, by, width, file, line);
}
template <class T>
RL_UNCHECKED inline T __shfl_down_sync(unsigned mask, T v, int by, int width = 32, RL_WHERE) {
  return rl::emulator::shuffle(rl::emulator::Shuffle::down, mask, v, by, width, file, line);
}
template <class T>
RL_UNCHECKED inline T __shfl_xor_sync(unsigned mask, T v, int with, int width = 32, RL_WHERE) {
  return rl::emulator::shuffle(rl::emulator::Shuffle::exclusive_or, mask, v, with, width, file, line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, RL_WHERE) {
  return rl::emulator::warp_ballot(mask, predicate != 0, file, line);
}

template <class T>
RL_UNCHECKED inline T atomicAdd(T *p, std::type_identity_t<T> v, RL_WHERE) {
  rl::emulator::access(p, sizeof(T), rl::emulator::Access::atomic, file, line);
  const T old = *p;
  *p = old + v;
  return old;
}
template <class T>
RL_UNCHECKED inline T atomicCAS(T *p, std::type_identity_t<T> compare, std::type_identity_t<T> v, RL_WHERE) {
  rl::emulator::access(p, sizeof(T), rl::emulator::Access::atomic, file, line);
  const T old = *p;
  if (old == compare) *p = v;
  return old;
}

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
#define __expf expf
inline uint32_t __float_as_uint(float x) { return std::bit_cast<uint32_t>(x); }
inline float __uint_as_float(uint32_t x) { return std::bit_cast<float>(x); }
#define __popc __builtin_popcount
#define __ffs __builtin_ffs

namespace rl::cuda {

template <class T>
RL_UNCHECKED inline T load_vector(const T *p, RL_WHERE) {
  emulator::access(p, sizeof(T), emulator::Access::read, file, line);
  return *p;
}
template <class T>
RL_UNCHECKED inline void store_vector(T *p, std::type_identity_t<T> v, RL_WHERE) {
  emulator::access(p, sizeof(T), emulator::Access::write, file, line);
  *p = v;
}
RL_UNCHECKED inline uint4 load_once(const uint4 *p, RL_WHERE) { return load_vector(p, file, line); }
inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, RL_WHERE) {
  const uint32_t b[2] = {b0, b1};
  emulator::mma_m16n8k16_bf16(d, a, b, file, line);
}
template <class T>
inline void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, RL_WHERE) {
  const uint32_t b[2] = {b0, b1};
  if constexpr (std::is_same_v<T, __half>) {
    emulator::mma_m16n8k16_f16(d, a, b, file, line);
  } else {
    static_assert(std::is_same_v<T, __nv_bfloat16>);
    emulator::mma_m16n8k16_bf16(d, a, b, file, line);
  }
}
inline uint32_t round_tf32(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return std::isfinite(x) ? (bits + 0x1000) & ~0x1fffu : bits;
}
inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, RL_WHERE) {
  const uint32_t b[2] = {b0, b1};
  emulator::mma_m16n8k8_tf32(d, a, b, file, line);
}
inline void ldmatrix_x4(uint32_t (&r)[4], const void *p, RL_WHERE) { emulator::ldmatrix_x4(r, p, false, file, line); }
inline void ldmatrix_x4_transposed(uint32_t (&r)[4], const void *p, RL_WHERE) {
  emulator::ldmatrix_x4(r, p, true, file, line);
}
inline void cp_async16(void *dst, const void *src, bool valid, RL_WHERE) {
  emulator::copy_async(dst, src, 16, valid, file, line);
}
inline void cp_async8(void *dst, const void *src, bool valid, RL_WHERE) {
  emulator::copy_async(dst, src, 8, valid, file, line);
}
inline void add_unordered(float *sum, float x, RL_WHERE) { atomicAdd(sum, x, file, line); }
inline float exp2_approx(float x) { return exp2f(x); }
inline void cp_async_commit() { emulator::copy_async_commit(); }
template <int N>
inline void cp_async_wait() {
  emulator::copy_async_wait(N);
}

}  // namespace rl::cuda
