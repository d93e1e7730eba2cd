// Matrix products by cuBLASLt.
//
// It counts matrices by columns: what is c [rows, columns] here is its D [columns, rows], so its A is our B, its B our A:
//   D = op(b) op(a) + bias,   b [columns, depth] along the contraction: transposed, else as it is;  a: the other way about.
// Bits: reductions through the output or in its dtype are not allowed, so sums are f32 in an order that the algorithm fixes, and
// the algorithm depends on shape, strides and dtypes only (alignment enters as a yes or no, see `Key`). Products of activations
// are not cut along the contraction, as ours are not (matrix_product.h). Still another number of rows may bring another
// algorithm, and with it other bits of the same row.
#include <dlfcn.h>

#include <compare>
#include <cstdlib>
#include <map>

#include "cuda/cuda_device.h"
#include "cuda/op.h"

#if __has_include(<cublasLt.h>)
#include "cuda/cublaslt.h"

namespace rl::cuda {
namespace {

constexpr uint64_t kWorkspace = 32 << 20;  // as much as cuBLAS itself takes on an H100
constexpr size_t kAlgorithms = 4096;       // that are remembered: packed batches have many lengths

cudaDataType_t type_of(int32_t dtype) { return dtype == RL_BF16 ? CUDA_R_16BF : CUDA_R_32F; }

/// A descriptor that is destroyed.
template <class T>
class Owned {
 public:
  explicit Owned(cublasStatus_t (*destroy)(T)) : destroy_(destroy) {}
  ~Owned() {
    if (value) destroy_(value);
  }
  Owned(const Owned &) = delete;
  Owned &operator=(const Owned &) = delete;
  T value = nullptr;

 private:
  cublasStatus_t (*destroy_)(T);
};

/// Everything that the choice of an algorithm may depend on.
struct Key {
  int64_t rows, columns, depth, a_stride, b_stride, c_stride;
  int32_t dtype, out;
  bool a_along, b_along, bias, accumulate;
  bool aligned;  // all addresses and rows to 16 bytes; else to an element only

  auto operator<=>(const Key &) const = default;
};

struct Algorithm {
  bool found;
  cublasLtMatmulAlgo_t algo;
  size_t workspace;
};

/// From one row to the next. That of a single row means nothing.
int64_t pitch(const View &v) { return v.rows() == 1 ? v.cols() : v.row_stride(); }

bool aligned(const View &v) {
  return reinterpret_cast<uintptr_t>(v.data) % 16 == 0 && pitch(v) * dtype_size(v.dtype) % 16 == 0;
}

class CublasLtLibrary final : public GemmLibrary {
 public:
  CublasLtLibrary(const CublasLt &table, bool tf32) : lt_(table), tf32_(tf32) {
    const cublasStatus_t status = lt_.cublasLtCreate(&handle_);
    if (status != CUBLAS_STATUS_SUCCESS) {
      fail(RL_UNSUPPORTED, "cuBLASLt does not start (%s); RLHF4J_CUDA_GEMM=own does without",
           lt_.cublasLtGetStatusName(status));
    }
  }
  ~CublasLtLibrary() override { lt_.cublasLtDestroy(handle_); }

  std::string name() const override {
    const size_t version = lt_.cublasLtGetVersion();
    return format("cuBLASLt %zu.%zu.%zu", version / 10000, version / 100 % 100, version % 100);
  }

  bool launch(CudaDevice &device, CUstream stream, const Gemm &gemm, bool required) override {
    const int32_t dtype = gemm.a.dtype, out = gemm.c.dtype;
    if (dtype == RL_F32 && out != RL_F32) return false;  // no such product there
    const Key key{
        gemm.rows(),
        gemm.columns(),
        gemm.depth(),
        pitch(gemm.a),
        pitch(gemm.b),
        pitch(gemm.c),
        dtype,
        out,
        gemm.a_along,
        gemm.b_along,
        static_cast<bool>(gemm.bias),
        gemm.accumulate,
        aligned(gemm.a) && aligned(gemm.b) && aligned(gemm.c) && reinterpret_cast<uintptr_t>(gemm.bias.data) % 16 == 0};
    if (key.rows == 0 || key.columns == 0 || key.depth == 0) return false;

    Owned<cublasLtMatmulDesc_t> product(lt_.cublasLtMatmulDescDestroy);
    lt_.check(
        lt_.cublasLtMatmulDescCreate(
            &product.value, dtype == RL_F32 && tf32_ ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
        "cublasLtMatmulDescCreate");
    set(product.value, CUBLASLT_MATMUL_DESC_TRANSA, int32_t{gemm.b_along ? CUBLAS_OP_T : CUBLAS_OP_N});
    set(product.value, CUBLASLT_MATMUL_DESC_TRANSB, int32_t{gemm.a_along ? CUBLAS_OP_N : CUBLAS_OP_T});
    if (gemm.bias) {
      set(product.value, CUBLASLT_MATMUL_DESC_EPILOGUE, uint32_t{CUBLASLT_EPILOGUE_BIAS});
      set(product.value, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias_in(device, gemm.bias, out));
    }
    Owned<cublasLtMatrixLayout_t> a(lt_.cublasLtMatrixLayoutDestroy), b(lt_.cublasLtMatrixLayoutDestroy),
        c(lt_.cublasLtMatrixLayoutDestroy);
    describe(a.value, gemm.a);
    describe(b.value, gemm.b);
    describe(c.value, gemm.c);

    const auto known = algorithms_.find(key);
    const Algorithm algorithm =
        known != algorithms_.end() ? known->second : choose(key, product.value, b.value, a.value, c.value);
    if (!algorithm.found && required && key.aligned) {
      fail(RL_UNSUPPORTED, "cuBLASLt has no product of [%lld,%lld] and [%lld,%lld]; RLHF4J_CUDA_GEMM=auto does without",
           static_cast<long long>(key.rows), static_cast<long long>(key.depth), static_cast<long long>(key.depth),
           static_cast<long long>(key.columns));
    }
    if (!algorithm.found) return false;
    void *workspace =
        algorithm.workspace ? device.scratch<uint8_t>(static_cast<int64_t>(algorithm.workspace)) : nullptr;
    const float one = 1, before = gemm.accumulate ? 1 : 0;
    lt_.check(lt_.cublasLtMatmul(handle_, product.value, &one, gemm.b.data, b.value, gemm.a.data, a.value, &before,
                                 gemm.c.data, c.value, gemm.c.data, c.value, &algorithm.algo, workspace,
                                 algorithm.workspace, reinterpret_cast<cudaStream_t>(stream)),
              "cublasLtMatmul");
    return true;
  }

 private:
  template <class T>
  void set(cublasLtMatmulDesc_t to, cublasLtMatmulDescAttributes_t attribute, const T &value) {
    lt_.check(lt_.cublasLtMatmulDescSetAttribute(to, attribute, &value, sizeof value),
              "cublasLtMatmulDescSetAttribute");
  }
  template <class T>
  void set(cublasLtMatmulPreference_t to, cublasLtMatmulPreferenceAttributes_t attribute, const T &value) {
    lt_.check(lt_.cublasLtMatmulPreferenceSetAttribute(to, attribute, &value, sizeof value),
              "cublasLtMatmulPreferenceSetAttribute");
  }

  /// A matrix of rows, as one of columns.
  void describe(cublasLtMatrixLayout_t &layout, const View &v) {
    lt_.check(lt_.cublasLtMatrixLayoutCreate(&layout, type_of(v.dtype), static_cast<uint64_t>(v.cols()),
                                             static_cast<uint64_t>(v.rows()), pitch(v)),
              "cublasLtMatrixLayoutCreate");
  }

  /// A bias has the result's dtype there. Rounding it to bf16 is no more than what happens to the result.
  static const void *bias_in(CudaDevice &device, const View &bias, int32_t out) {
    if (out == RL_F32) return bias.data;
    View rounded = bias;
    rounded.dtype = RL_BF16;
    rounded.data = device.scratch<uint16_t>(bias.elements());
    copy(device, rounded, bias);
    return rounded.data;
  }

  Algorithm choose(const Key &key, cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                   cublasLtMatrixLayout_t c) {
    Owned<cublasLtMatmulPreference_t> wanted(lt_.cublasLtMatmulPreferenceDestroy);
    lt_.check(lt_.cublasLtMatmulPreferenceCreate(&wanted.value), "cublasLtMatmulPreferenceCreate");
    set(wanted.value, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspace);
    const bool activations = key.a_along;  // else the gradient of a weight
    set(wanted.value, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        uint32_t{activations ? CUBLASLT_REDUCTION_SCHEME_NONE : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    const uint32_t inputs = key.aligned ? 16 : static_cast<uint32_t>(dtype_size(key.dtype)),
                   output = key.aligned ? 16 : static_cast<uint32_t>(dtype_size(key.out));
    set(wanted.value, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, inputs);
    set(wanted.value, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, inputs);
    set(wanted.value, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, output);
    set(wanted.value, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, output);
    cublasLtMatmulHeuristicResult_t best{};
    int count = 0;
    const cublasStatus_t status =
        lt_.cublasLtMatmulAlgoGetHeuristic(handle_, product, a, b, c, c, wanted.value, 1, &best, &count);
    if (status != CUBLAS_STATUS_NOT_SUPPORTED) lt_.check(status, "cublasLtMatmulAlgoGetHeuristic");
    const bool found = status == CUBLAS_STATUS_SUCCESS && count > 0 && best.state == CUBLAS_STATUS_SUCCESS;
    if (algorithms_.size() >= kAlgorithms) algorithms_.clear();
    return algorithms_[key] = {found, best.algo, best.workspaceSize};
  }

  const CublasLt &lt_;
  const bool tf32_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<Key, Algorithm> algorithms_;
};

}  // namespace

void CublasLt::check(cublasStatus_t status, const char *what) const {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail(RL_INTERNAL, "%s: %s; RLHF4J_CUDA_GEMM=own does without cuBLASLt", what, cublasLtGetStatusName(status));
}

bool load_cublaslt(const char *file, CublasLt &table, std::string &why_not) {
  void *library = dlopen(file, RTLD_LAZY | RTLD_LOCAL);
  if (!library) {
    why_not = dlerror();
    return false;
  }
#define RL_CUBLASLT(function)                                                             \
  table.function = reinterpret_cast<decltype(table.function)>(dlsym(library, #function)); \
  if (!table.function) {                                                                  \
    why_not = format("%s has no %s", file, #function);                                    \
    return false;                                                                         \
  }
#include "cuda/cublaslt.def"
#undef RL_CUBLASLT
  // Types and attributes are a release's own.
  const size_t major = table.cublasLtGetVersion() / 10000;
  if (major == CUBLAS_VER_MAJOR) return true;
  why_not = format("%s is of release %zu, and this build needs %d", file, major, CUBLAS_VER_MAJOR);
  return false;
}

std::unique_ptr<GemmLibrary> cublaslt_library(const CublasLt &table, bool tf32) {
  return std::make_unique<CublasLtLibrary>(table, tf32);
}

std::unique_ptr<GemmLibrary> open_cublaslt(bool tf32, std::string &why_not) {
  struct Found {
    CublasLt table;
    bool there;
    std::string why_not;
  };
  static const Found found = [] {
    Found f{};
    // Named for one that the system's search does not find.
    const char *named = std::getenv("RLHF4J_CUDA_CUBLASLT");
    const std::string file =
        named && *named ? named : "libcublasLt.so." + std::to_string(static_cast<int>(CUBLAS_VER_MAJOR));
    f.there = load_cublaslt(file.c_str(), f.table, f.why_not);
    if (!f.there && named && *named) {
      fail(RL_UNSUPPORTED, "RLHF4J_CUDA_CUBLASLT: %s", f.why_not.c_str());
    }
    return f;
  }();
  why_not = found.why_not;
  return found.there ? cublaslt_library(found.table, tf32) : nullptr;
}

}  // namespace rl::cuda

#else

namespace rl::cuda {

std::unique_ptr<GemmLibrary> open_cublaslt(bool, std::string &why_not) {
  why_not = "this build has none, since the CUDA Toolkit it was made with had no cublasLt.h";
  return nullptr;
}

}  // namespace rl::cuda

#endif
