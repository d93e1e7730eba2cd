// cuBLASLt as a table of functions, so that the library loads where there is none, and an emulator can stand in.
#pragma once

#include <cublasLt.h>

#include "cuda/gemm_library.h"

namespace rl::cuda {

struct CublasLt {
#define RL_CUBLASLT(name) decltype(&::name) name;
#include "cuda/cublaslt.def"
#undef RL_CUBLASLT

  /// Throws RL_INTERNAL naming `what` unless `status` is success.
  void check(cublasStatus_t status, const char *what) const;
};

/// The functions of the library file; false and the reason if it cannot be opened or lacks one.
bool load_cublaslt(const char *file, CublasLt &table, std::string &why_not);

/// Products by that table. Throws RL_UNSUPPORTED if it does not start.
std::unique_ptr<GemmLibrary> cublaslt_library(const CublasLt &table, bool tf32);

}  // namespace rl::cuda
