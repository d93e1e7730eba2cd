// cuBLASLt by the processor: column-major matrices with leading dimensions, op(A) op(B), beta, bias, dtypes, as the manual has them.
// What it does not know (an attribute, a size of one, a combination of dtypes) is an error. Beyond the manual it holds callers to
// what they promised: an algorithm belongs to the very configuration it was chosen for, addresses have the promised alignment, all
// memory must be lent. Where it may, it cuts long contractions into parts whose sums lie in the workspace.
#include "emulator/cublaslt.h"

#include <cstdlib>
#include <cstring>

#if __has_include(<cublasLt.h>)
#include <bit>
#include <vector>

#include "cuda/cublaslt.h"
#include "emulator/driver.h"
#include "emulator/report.h"

namespace rl::emulator {
namespace {

constexpr uint64_t kCutFrom = 256;  // of the contraction

struct Handle {};
struct Product {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  int32_t a_op = CUBLAS_OP_N, b_op = CUBLAS_OP_N;
  uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void *bias = nullptr;
};
struct Layout {
  cudaDataType_t type;
  uint64_t rows, columns;
  int64_t leading;
};
struct Preference {
  uint64_t workspace = 0;
  uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK, a = 256, b = 256, c = 256, d = 256;
};
/// What lies in cublasLtMatmulAlgo_t.
struct Choice {
  uint64_t configuration, parts, a, b, c, d;
};
static_assert(sizeof(Choice) <= sizeof(cublasLtMatmulAlgo_t));

template <class T, class Opaque>
T *own(Opaque *opaque) {
  return reinterpret_cast<T *>(opaque);
}

/// Copies an attribute whose size is right.
template <class T>
cublasStatus_t take(T &to, const void *from, size_t bytes) {
  if (!from || bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

template <class T, class Opaque>
cublasStatus_t destroy(Opaque *opaque) {
  delete own<T>(opaque);
  return CUBLAS_STATUS_SUCCESS;
}

size_t size_of(cudaDataType_t type) { return type == CUDA_R_16BF ? 2 : 4; }

float read(const void *p, cudaDataType_t type, size_t i) {
  if (type == CUDA_R_32F) return static_cast<const float *>(p)[i];
  return std::bit_cast<float>(static_cast<uint32_t>(static_cast<const uint16_t *>(p)[i]) << 16);
}
void write(void *p, cudaDataType_t type, size_t i, float x) {
  if (type == CUDA_R_32F) {
    static_cast<float *>(p)[i] = x;
    return;
  }
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  static_cast<uint16_t *>(p)[i] = static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
/// Rounded to ten bits of fraction, halves away from zero.
float to_tf32(float x) { return std::bit_cast<float>((std::bit_cast<uint32_t>(x) + 0x1000) & 0xffffe000); }

/// D [m,n] = op(A) [m,k] op(B) [k,n]; zeros if these do not fit together.
struct Sizes {
  uint64_t m, n, k;
};
Sizes sizes_of(const Product &p, const Layout &a, const Layout &b, const Layout &c, const Layout &d) {
  const bool at = p.a_op == CUBLAS_OP_T, bt = p.b_op == CUBLAS_OP_T;
  const uint64_t m = at ? a.columns : a.rows, k = at ? a.rows : a.columns, n = bt ? b.rows : b.columns;
  const bool fit = k == (bt ? b.columns : b.rows) && d.rows == m && d.columns == n && c.rows == m && c.columns == n &&
                   c.leading == d.leading;
  return fit ? Sizes{m, n, k} : Sizes{0, 0, 0};
}

/// The rows of the manual's table that the backend may use.
bool supported(const Product &p, const Layout &a, const Layout &b, const Layout &c, const Layout &d) {
  if (a.type != b.type || c.type != d.type || p.scale != CUDA_R_32F) return false;
  if (p.compute == CUBLAS_COMPUTE_32F_FAST_TF32) return a.type == CUDA_R_32F && d.type == CUDA_R_32F;
  if (p.compute != CUBLAS_COMPUTE_32F) return false;
  return a.type == CUDA_R_16BF || d.type == CUDA_R_32F;
}

/// Of all that the choice of an algorithm is made for.
uint64_t configuration_of(const Product &p, const Layout &a, const Layout &b, const Layout &d) {
  uint64_t hash = 14695981039346656037u;
  for (uint64_t x :
       {uint64_t{p.compute}, static_cast<uint64_t>(p.a_op), static_cast<uint64_t>(p.b_op), uint64_t{p.epilogue},
        uint64_t{a.type}, uint64_t{d.type}, a.rows, a.columns, b.rows, b.columns, static_cast<uint64_t>(a.leading),
        static_cast<uint64_t>(b.leading), static_cast<uint64_t>(d.leading)}) {
    hash = (hash ^ x) * 1099511628211u;
  }
  return hash;
}

bool aligned(const void *p, uint64_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

/// All of a matrix belongs to somebody.
bool is_lent(const Machine &machine, const void *p, const Layout &l) {
  for (uint64_t column = 0; column < l.columns; column++) {
    const size_t from = column * static_cast<uint64_t>(l.leading) * size_of(l.type);
    if (!machine.is_lent(static_cast<const char *>(p) + from, l.rows * size_of(l.type))) return false;
  }
  return true;
}

struct Work {
  Product product;
  Layout a, b, d;
  Sizes sizes;
  const void *a_data, *b_data;
  float beta;
  void *d_data;
  uint64_t parts;
  float *workspace;

  void operator()(Machine &machine) const {
    const auto [m, n, k] = sizes;
    const size_t sums = parts > 1 ? parts * m * n * sizeof(float) : 0;
    const Layout bias{d.type, m, 1, static_cast<int64_t>(m)};
    if (!is_lent(machine, a_data, a) || !is_lent(machine, b_data, b) || !is_lent(machine, d_data, d) ||
        (product.bias && !is_lent(machine, product.bias, bias)) || (sums && !machine.is_lent(workspace, sums))) {
      return error("out-of-bounds", nullptr, 0, "a matrix, the bias or the workspace");
    }
    const std::vector<float> x = values(a, a_data, product.a_op == CUBLAS_OP_T),
                             y = values(b, b_data, product.b_op == CUBLAS_OP_N);
    const uint64_t each = (k + parts - 1) / parts;
    for (uint64_t j = 0; j < n; j++) {
      for (uint64_t i = 0; i < m; i++) {
        float total = 0;
        for (uint64_t part = 0; part < parts; part++) {
          float sum = 0;
          const uint64_t end = std::min(k, (part + 1) * each);
          for (uint64_t l = part * each; l < end; l++) sum += x[i * k + l] * y[j * k + l];
          if (parts > 1) workspace[(part * n + j) * m + i] = sum;
          total += sum;
        }
        if (product.bias) total += read(product.bias, d.type, i);
        const size_t at = j * static_cast<uint64_t>(d.leading) + i;
        if (beta != 0) total += beta * read(d_data, d.type, at);
        write(d_data, d.type, at, total);
      }
      machine.written(static_cast<char *>(d_data) + j * static_cast<uint64_t>(d.leading) * size_of(d.type),
                      m * size_of(d.type));
    }
  }

  /// As floats, the contraction side by side. It runs down the columns, or else across them.
  std::vector<float> values(const Layout &l, const void *data, bool down) const {
    const uint64_t depth = down ? l.rows : l.columns;
    std::vector<float> out(l.rows * l.columns);
    for (uint64_t column = 0; column < l.columns; column++) {
      for (uint64_t row = 0; row < l.rows; row++) {
        const float v = read(data, l.type, column * static_cast<uint64_t>(l.leading) + row);
        const uint64_t i = down ? column : row, at = down ? row : column;
        out[i * depth + at] = product.compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? to_tf32(v) : v;
      }
    }
    return out;
  }
};

// ---- the functions of cuda/cublaslt.def

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
  *handle = reinterpret_cast<cublasLtHandle_t>(new Handle);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) { return destroy<Handle>(handle); }
const char *cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
      return "another status";
  }
}
size_t cublasLtGetVersion() { return CUBLAS_VERSION; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute, cudaDataType_t scale) {
  *desc = reinterpret_cast<cublasLtMatmulDesc_t>(new Product{.compute = compute, .scale = scale});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) { return destroy<Product>(desc); }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes) {
  Product &p = *own<Product>(desc);
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return take(p.a_op, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return take(p.b_op, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return take(p.epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return take(p.bias, value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
  *preference = reinterpret_cast<cublasLtMatmulPreference_t>(new Preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) { return destroy<Preference>(p); }
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
                                                    size_t bytes) {
  Preference &p = *own<Preference>(preference);
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return take(p.workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return take(p.reductions, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return take(p.a, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return take(p.b, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return take(p.c, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return take(p.d, value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t leading) {
  if ((type != CUDA_R_32F && type != CUDA_R_16BF) || leading < static_cast<int64_t>(rows)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  *layout = reinterpret_cast<cublasLtMatrixLayout_t>(new Layout{type, rows, columns, leading});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) { return destroy<Layout>(layout); }

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a_layout, cublasLtMatrixLayout_t b_layout,
                                              cublasLtMatrixLayout_t c_layout, cublasLtMatrixLayout_t d_layout,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t *results, int *count) {
  if (!handle || requested < 1) return CUBLAS_STATUS_INVALID_VALUE;
  const Product &p = *own<Product>(desc);
  const Layout &a = *own<Layout>(a_layout), &b = *own<Layout>(b_layout), &c = *own<Layout>(c_layout),
               &d = *own<Layout>(d_layout);
  const Preference &wanted = *own<Preference>(preference);
  *count = 0;
  if (!supported(p, a, b, c, d)) return CUBLAS_STATUS_NOT_SUPPORTED;
  const Sizes sizes = sizes_of(p, a, b, c, d);
  if (sizes.m == 0) return CUBLAS_STATUS_INVALID_VALUE;
  const uint64_t sums = 2 * sizes.m * sizes.n * sizeof(float);
  const bool cut =
      sizes.k >= kCutFrom && (wanted.reductions & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) && sums <= wanted.workspace;
  const Choice choice{configuration_of(p, a, b, d), cut ? 2u : 1u, wanted.a, wanted.b, wanted.c, wanted.d};
  results[0] = {};
  std::memcpy(&results[0].algo, &choice, sizeof choice);
  results[0].workspaceSize = cut ? sums : 0;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  *count = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a_data,
                              cublasLtMatrixLayout_t a_layout, const void *b_data, cublasLtMatrixLayout_t b_layout,
                              const void *beta, const void *c_data, cublasLtMatrixLayout_t c_layout, void *d_data,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo, void *workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
  const Product &p = *own<Product>(desc);
  const Layout &a = *own<Layout>(a_layout), &b = *own<Layout>(b_layout), &c = *own<Layout>(c_layout),
               &d = *own<Layout>(d_layout);
  Choice choice;
  std::memcpy(&choice, algo, sizeof choice);
  const Sizes sizes = sizes_of(p, a, b, c, d);
  const size_t sums = choice.parts > 1 ? choice.parts * sizes.m * sizes.n * sizeof(float) : 0;
  if (!handle || choice.configuration != configuration_of(p, a, b, d) || *static_cast<const float *>(alpha) != 1 ||
      c_data != d_data || !aligned(a_data, choice.a) || !aligned(b_data, choice.b) || !aligned(c_data, choice.c) ||
      !aligned(d_data, choice.d) || workspace_bytes < sums || !aligned(workspace, 256) ||
      (p.epilogue == CUBLASLT_EPILOGUE_BIAS) != (p.bias != nullptr) ||
      (p.epilogue != CUBLASLT_EPILOGUE_BIAS && p.epilogue != CUBLASLT_EPILOGUE_DEFAULT)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  enqueue(reinterpret_cast<CUstream>(stream), "cublasLtMatmul",
          Work{p, a, b, d, sizes, a_data, b_data, *static_cast<const float *>(beta), d_data, choice.parts,
               static_cast<float *>(workspace)});
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace

const cuda::CublasLt &emulated_cublaslt() {
  static const cuda::CublasLt table = [] {
    cuda::CublasLt t;
#define RL_CUBLASLT(name) t.name = &name;
#include "cuda/cublaslt.def"
#undef RL_CUBLASLT
    return t;
  }();
  return table;
}

std::unique_ptr<cuda::GemmLibrary> open_emulated_cublaslt(bool tf32, std::string &why_not) {
  const char *set = std::getenv("RLHF4J_EMULATOR_CUBLASLT");
  if (set && !std::strcmp(set, "1")) return cuda::cublaslt_library(emulated_cublaslt(), tf32);
  why_not = "the emulated machine has one with RLHF4J_EMULATOR_CUBLASLT=1";
  return nullptr;
}

}  // namespace rl::emulator

#else

namespace rl::emulator {

std::unique_ptr<cuda::GemmLibrary> open_emulated_cublaslt(bool, std::string &why_not) {
  why_not = "this build has none, since the CUDA Toolkit it was made with had no cublasLt.h";
  return nullptr;
}

}  // namespace rl::emulator

#endif
