// The seam between kernels and the machine that runs them: the only file with PTX, and the only one that knows of the emulator.
//   KERNEL(name, threads, parameters...)   a kernel that the host finds by name, of at most `threads` threads a block
//   KERNEL_BLOCKS(name, threads, blocks, parameters...)   of which so many blocks are to fit on a multiprocessor
//   SHARED(type, name, [dims])             an array of the block; SHARED_DYNAMIC(name) the bytes that the launch asks for
//   DEVICE, DEVICE_MEMBER                  a function, a member function for kernels
//   mma, mma_bf16, mma_tf32, ldmatrix_x4, cp_async16 ...  tensor-core products, their loads, asynchronous copies (sm_80 and up)
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#if defined(__CUDACC__)
// One block per multiprocessor is enough: without saying so, ptxas spills registers to make room for more.
#define KERNEL(name, threads, ...) extern "C" __global__ void __launch_bounds__(threads, 1) name(__VA_ARGS__)
#define KERNEL_BLOCKS(name, threads, blocks, ...) \
  extern "C" __global__ void __launch_bounds__(threads, blocks) name(__VA_ARGS__)
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__
#define SHARED(type, name, dims) __shared__ __align__(16) type name dims
#define SHARED_DYNAMIC(name)                                   \
  extern __shared__ __align__(128) unsigned char name##_raw[]; \
  unsigned char *name = name##_raw
#else
#include "emulator/cuda_on_host.h"
#endif

namespace rl::cuda {

constexpr unsigned kFullWarp = 0xffffffffu;

#if defined(__CUDACC__)

/// One access of sizeof(T) bytes, aligned to it: float4, uint4, ...
template <class T>
DEVICE T load_vector(const T *p) {
  return *p;
}
template <class T>
DEVICE void store_vector(T *p, T v) {
  *p = v;
}

/// 16 bytes of global memory that this kernel reads once and nobody writes: they leave the first-level cache to others.
DEVICE uint4 load_once(const uint4 *p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}

DEVICE uint32_t shared_address(const void *p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

/// d += a b for one 16x8x16 tile, bf16 in, f32 out; fragments as in the PTX manual's m16n8k16.
DEVICE void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// The same for factors of either type of 16 bits.
template <class T>
DEVICE void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<T, __half>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    static_assert(std::is_same_v<T, __nv_bfloat16>);
    mma_bf16(d, a, b0, b1);
  }
}

/// f32 with ten bits of fraction, as mma_tf32 takes it; halves away from zero.
DEVICE uint32_t round_tf32(float x) {
  uint32_t y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}
/// d += a b for one 16x8x8 tile, TF32 in, f32 out; fragments as in the PTX manual's m16n8k8.
DEVICE void mma_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Four 8x8 tiles of 16-bit elements from shared memory; lanes 8i .. 8i+7 give the addresses of tile i's rows.
DEVICE void ldmatrix_x4(uint32_t (&r)[4], const void *p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(p))
               : "memory");
}
DEVICE void ldmatrix_x4_transposed(uint32_t (&r)[4], const void *p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(p))
               : "memory");
}

/// Starts a copy of 16 bytes from global to shared memory; with !valid zeros are written and nothing is read, but `src` must
/// be an address all the same. Both 16-byte aligned.
DEVICE void cp_async16(void *dst, const void *src, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(dst)), "l"(src), "r"(bytes)
               : "memory");
}
/// The same for 8 bytes.
DEVICE void cp_async8(void *dst, const void *src, bool valid) {
  const int bytes = valid ? 8 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address(dst)), "l"(src), "r"(bytes)
               : "memory");
}
/// Ends a group of copies.
DEVICE void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most N of this thread's groups are under way. Other threads see them after a barrier.
template <int N>
DEVICE void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/// *sum += x in global memory, whoever else adds to it: in no order, and so in kernels of RLHF4J_CUDA_DETERMINISTIC=0 only.
DEVICE void add_unordered(float *sum, float x) { asm volatile("red.global.add.f32 [%0], %1;" ::"l"(sum), "f"(x)); }

/// 2^x to about 2 ulp; 0 for -infinity.
DEVICE float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

#endif

/// Two numbers, rounded to bf16, as a fragment's register holds them.
DEVICE uint32_t pack_bf16(float low, float high) {
  return static_cast<uint32_t>(__bfloat16_as_ushort(__float2bfloat16_rn(high))) << 16 |
         __bfloat16_as_ushort(__float2bfloat16_rn(low));
}
/// Or to f16: infinity from 65520 on, zero up to 2^-25.
DEVICE uint32_t pack_f16(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return static_cast<uint32_t>(__half_as_ushort(__high2half(pair))) << 16 | __half_as_ushort(__low2half(pair));
}

}  // namespace rl::cuda
