// What a user chooses by the environment, for every GPU that the process opens.
#pragma once

#include <cstdint>

namespace rl::cuda {

struct Options {
  /// RLHF4J_CUDA_BLOCKING=1: wait after each launch, so that an error names its op.
  bool blocking;
  /// RLHF4J_CUDA_GRAPHS=0: recordings are turned off.
  bool graphs;
  /// RLHF4J_CUDA_TF32=1: products of f32 matrices by tensor cores, which keep ten bits of a factor.
  bool tf32;
  /// RLHF4J_CUDA_DETERMINISTIC=0: where it is faster, sums may be added up in any order, and last bits vary from run to run.
  bool deterministic;
  /// RLHF4J_CUDA_GEMM=own|cublaslt|auto: who multiplies matrices. auto: cuBLASLt the large ones, where it is found.
  enum class Gemm { automatic, own, cublaslt } gemm;
  /// RLHF4J_CUDA_ATTENTION=own|cudnn: whose attention over packed sequences.
  enum class Attention { own, cudnn } attention;
};

/// Throws RL_INVALID_ARGUMENT naming the variable whose value is none of those it takes.
Options options_of_environment();

}  // namespace rl::cuda
