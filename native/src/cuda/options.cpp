#include "cuda/options.h"

#include <cstdlib>
#include <initializer_list>
#include <string>

#include "dispatch/error.h"

namespace rl::cuda {
namespace {

/// Which of `choices` the variable names; the first if it is not set.
int choice(const char *variable, std::initializer_list<const char *> choices) {
  const char *set = std::getenv(variable);
  if (!set || !*set) return 0;
  int i = 0;
  std::string expected;
  for (const char *name : choices) {
    if (name == std::string(set)) return i;
    expected += (i++ ? ", " : "") + std::string(name);
  }
  fail(RL_INVALID_ARGUMENT, "%s: expected one of %s, found '%s'", variable, expected.c_str(), set);
}

}  // namespace

Options options_of_environment() {
  return {choice("RLHF4J_CUDA_BLOCKING", {"0", "1"}) == 1,
          choice("RLHF4J_CUDA_GRAPHS", {"1", "0"}) == 0,
          choice("RLHF4J_CUDA_TF32", {"0", "1"}) == 1,
          choice("RLHF4J_CUDA_DETERMINISTIC", {"1", "0"}) == 0,
          static_cast<Options::Gemm>(choice("RLHF4J_CUDA_GEMM", {"auto", "own", "cublaslt"})),
          static_cast<Options::Attention>(choice("RLHF4J_CUDA_ATTENTION", {"own", "cudnn"}))};
}

}  // namespace rl::cuda
