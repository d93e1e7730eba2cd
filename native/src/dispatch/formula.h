// Scalar formulas that every backend compiles: RL_FORMULA before a function.
#pragma once

// Always inlined: CPU code is compiled for several instruction sets, and the linker would keep one copy for all.
#if defined(__CUDACC__)
#define RL_FORMULA static __host__ __device__ __forceinline__
#else
#define RL_FORMULA static inline __attribute__((always_inline))
#endif

namespace rl {

// nvcc knows the functions by their names only, GCC on the CPU is to take no inline function of the standard library.
#if defined(__CUDACC__)
RL_FORMULA double exp_of(double x) { return exp(x); }
RL_FORMULA double expm1_of(double x) { return expm1(x); }
RL_FORMULA float root_of(float x) { return sqrtf(x); }
RL_FORMULA double root_of(double x) { return sqrt(x); }
#else
RL_FORMULA double exp_of(double x) { return __builtin_exp(x); }
RL_FORMULA double expm1_of(double x) { return __builtin_expm1(x); }
RL_FORMULA float root_of(float x) { return __builtin_sqrtf(x); }
RL_FORMULA double root_of(double x) { return __builtin_sqrt(x); }
#endif

}  // namespace rl
