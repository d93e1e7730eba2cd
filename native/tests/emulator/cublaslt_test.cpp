// Products by cuBLASLt: when it is asked and for what, what is remembered, what happens where it has no product or fails. The
// table is the emulator's, with counters around it; the numbers are checked by linear_test with RLHF4J_CUDA_GEMM=cublaslt.
// And the real library's own look at our descriptors, which needs no GPU.
#include "cuda/cublaslt.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <vector>

#include "cuda/op.h"
#include "emulator/checker.h"
#include "emulator/cublaslt.h"
#include "emulator/driver.h"

namespace rl::emulator {

const bool checked = false;

namespace {

using cuda::CublasLt;

// ---- the emulated library, watched

struct Calls {
  int choices = 0, products = 0, created = 0, destroyed = 0;
  size_t workspace = 0;  // of the last product
  bool none = false;     // there is no algorithm
  bool fails = false;
  bool computes = true;
} calls;

cublasStatus_t choose(cublasLtHandle_t handle, cublasLtMatmulDesc_t p, cublasLtMatrixLayout_t a,
                      cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                      cublasLtMatmulPreference_t wanted, int most, cublasLtMatmulHeuristicResult_t *results,
                      int *count) {
  calls.choices++;
  if (calls.none) return CUBLAS_STATUS_NOT_SUPPORTED;
  return emulated_cublaslt().cublasLtMatmulAlgoGetHeuristic(handle, p, a, b, c, d, wanted, most, results, count);
}

cublasStatus_t multiply(cublasLtHandle_t handle, cublasLtMatmulDesc_t p, const void *alpha, const void *a,
                        cublasLtMatrixLayout_t al, const void *b, cublasLtMatrixLayout_t bl, const void *beta,
                        const void *c, cublasLtMatrixLayout_t cl, void *d, cublasLtMatrixLayout_t dl,
                        const cublasLtMatmulAlgo_t *algo, void *workspace, size_t bytes, cudaStream_t stream) {
  calls.products++;
  calls.workspace = bytes;
  if (calls.fails) return CUBLAS_STATUS_EXECUTION_FAILED;
  if (!calls.computes) return CUBLAS_STATUS_SUCCESS;
  return emulated_cublaslt().cublasLtMatmul(handle, p, alpha, a, al, b, bl, beta, c, cl, d, dl, algo, workspace, bytes,
                                            stream);
}

const CublasLt &watched() {
  static const CublasLt table = [] {
    CublasLt t = emulated_cublaslt();
    t.cublasLtMatmulAlgoGetHeuristic = &choose;
    t.cublasLtMatmul = &multiply;
    t.cublasLtMatmulDescCreate = [](cublasLtMatmulDesc_t *desc, cublasComputeType_t compute, cudaDataType_t scale) {
      calls.created++;
      return emulated_cublaslt().cublasLtMatmulDescCreate(desc, compute, scale);
    };
    t.cublasLtMatmulDescDestroy = [](cublasLtMatmulDesc_t desc) {
      calls.destroyed++;
      return emulated_cublaslt().cublasLtMatmulDescDestroy(desc);
    };
    return t;
  }();
  return table;
}

// ---- a device over it

struct Matrix {
  View view;
  std::vector<float> values;
};

class CublasLtTest : public testing::Test {
 protected:
  void SetUp() override { calls = {}; }
  void TearDown() override {
    for (auto &[memory, bytes] : memory_) device_->release(memory, bytes);
    device_.reset();
    unsetenv("RLHF4J_CUDA_GEMM");
  }

  void open(
      const char *gemm, cuda::OpenGemmLibrary library = [](bool tf32, std::string &) {
        return cuda::cublaslt_library(watched(), tf32);
      }) {
    setenv("RLHF4J_CUDA_GEMM", gemm, 1);
    static const char any = 0;
    static const cuda::KernelImages images = {{"emulated kernels", &any}};
    device_ = std::make_unique<cuda::CudaDevice>(cuda::ops, emulated_driver(fiber_machine()), images, 0,
                                                 cuda::Libraries{library, nullptr});
  }

  /// f32 of small whole numbers: sums are exact. `pitch`: elements from row to row; `skip`: ahead of the first.
  Matrix matrix(int64_t rows, int64_t columns, int64_t pitch = 0, int64_t skip = 0) {
    if (pitch == 0) pitch = columns;
    Matrix m;
    m.values.resize(static_cast<size_t>(rows * pitch + skip));
    for (size_t i = 0; i < m.values.size(); i++) m.values[i] = static_cast<float>(i * 7 % 11) - 5;
    const int64_t bytes = static_cast<int64_t>(m.values.size()) * 4;
    void *memory = device_->allocate(bytes);
    memory_.push_back({memory, bytes});
    device_->copy_from_host(memory, m.values.data(), bytes);
    m.view.data = static_cast<float *>(memory) + skip;
    m.view.rank = 2;
    m.view.shape[0] = rows;
    m.view.shape[1] = columns;
    m.view.stride[0] = pitch;
    m.values.erase(m.values.begin(), m.values.begin() + static_cast<std::ptrdiff_t>(skip));
    return m;
  }

  void linear(Matrix &y, const Matrix &x, const Matrix &w) {
    const cuda::CudaWeight weight(*device_, w.view, false);
    device_->begin_op();
    cuda::linear(*device_, y.view, x.view, weight, View{}, false);
    device_->copy_to_host(y.values.data(), y.view.data, static_cast<int64_t>(y.values.size()) * 4);
  }
  static void expect_product(const Matrix &y, const Matrix &x, const Matrix &w) {
    for (int64_t i = 0; i < y.view.rows(); i++) {
      for (int64_t j = 0; j < y.view.cols(); j++) {
        float sum = 0;
        for (int64_t k = 0; k < x.view.cols(); k++) {
          sum += x.values[static_cast<size_t>(i * x.view.row_stride() + k)] *
                 w.values[static_cast<size_t>(j * w.view.row_stride() + k)];
        }
        ASSERT_EQ(y.values[static_cast<size_t>(i * y.view.row_stride() + j)], sum) << i << "," << j;
      }
    }
  }

  std::unique_ptr<cuda::CudaDevice> device_;

 private:
  std::vector<std::pair<void *, int64_t>> memory_;
};

void expect_failure(const std::function<void()> &call, int32_t status, const std::vector<std::string> &parts) {
  try {
    call();
    FAIL() << "nothing was thrown";
  } catch (const Error &e) {
    EXPECT_EQ(e.status(), status);
    for (const std::string &part : parts) EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

TEST_F(CublasLtTest, AsksOnceForAShapeAndItsStrides) {
  open("cublaslt");
  Matrix x = matrix(20, 32), w = matrix(12, 32), y = matrix(20, 12);
  linear(y, x, w);
  expect_product(y, x, w);
  EXPECT_EQ(calls.choices, 1);
  linear(y, x, w);
  EXPECT_EQ(calls.choices, 1);
  EXPECT_EQ(calls.products, 2);

  Matrix wide = matrix(20, 32, 40);  // other rows of x
  linear(y, wide, w);
  expect_product(y, wide, w);
  EXPECT_EQ(calls.choices, 2);
  Matrix elsewhere = matrix(20, 32, 0, 4);  // another address, aligned as well
  linear(y, elsewhere, w);
  expect_product(y, elsewhere, w);
  EXPECT_EQ(calls.choices, 2);
  Matrix odd = matrix(20, 32, 0, 1);  // one that is not
  linear(y, odd, w);
  expect_product(y, odd, w);
  EXPECT_EQ(calls.choices, 3);
  EXPECT_EQ(calls.products, 5);
  EXPECT_EQ(calls.created, 5);
  EXPECT_EQ(calls.destroyed, 5);
}

TEST_F(CublasLtTest, CutsGradientsOfWeightsOnly) {
  open("cublaslt");
  Matrix x = matrix(20, 1024), w = matrix(12, 1024), y = matrix(20, 12);
  linear(y, x, w);
  expect_product(y, x, w);
  EXPECT_EQ(calls.workspace, 0u);

  Matrix rows = matrix(1024, 12), g = matrix(1024, 8), gw = matrix(8, 12);
  device_->begin_op();
  cuda::linear_backward_weight(*device_, gw.view, View{}, g.view, rows.view);
  std::vector<float> got(gw.values.size());
  device_->copy_to_host(got.data(), gw.view.data, static_cast<int64_t>(got.size()) * 4);
  EXPECT_EQ(calls.products, 2);
  EXPECT_EQ(calls.workspace, 2u * 8 * 12 * 4);
  for (size_t i = 0; i < got.size(); i++) {
    float sum = gw.values[i];
    for (size_t t = 0; t < 1024; t++) sum += g.values[t * 8 + i / 12] * rows.values[t * 12 + i % 12];
    ASSERT_EQ(got[i], sum) << i;
  }
}

TEST_F(CublasLtTest, AutoTakesItForLargeProducts) {
  open("auto");
  Matrix x = matrix(100, 64), w = matrix(64, 64), y = matrix(100, 64);
  linear(y, x, w);
  expect_product(y, x, w);
  EXPECT_EQ(calls.products, 0);
  calls.computes = false;
  Matrix big = matrix(1024, 1024), square = matrix(1024, 1024), out = matrix(1024, 1024);
  linear(out, big, square);
  EXPECT_EQ(calls.products, 1);
  EXPECT_NE(device_->describe().find("cuBLASLt " + std::to_string(CUBLAS_VER_MAJOR)), std::string::npos)
      << device_->describe();
}

TEST_F(CublasLtTest, OwnNeverDoes) {
  open("own", [](bool, std::string &) -> std::unique_ptr<cuda::GemmLibrary> {
    ADD_FAILURE() << "opened";
    return nullptr;
  });
  Matrix x = matrix(20, 32), w = matrix(12, 32), y = matrix(20, 12);
  linear(y, x, w);
  expect_product(y, x, w);
  EXPECT_EQ(device_->describe().find("cuBLASLt"), std::string::npos);
}

TEST_F(CublasLtTest, OwnTilesWhereItHasNoProduct) {
  open("cublaslt");
  calls.none = true;
  Matrix x = matrix(20, 32, 0, 1), w = matrix(12, 32), y = matrix(20, 12);
  for (int i = 0; i < 2; i++) {
    linear(y, x, w);
    expect_product(y, x, w);
  }
  EXPECT_EQ(calls.choices, 1);
  EXPECT_EQ(calls.products, 0);
}

// Else it would go unnoticed that a library which was asked for does nothing.
TEST_F(CublasLtTest, NoProductAtAllIsAnErrorIfAskedFor) {
  open("cublaslt");
  calls.none = true;
  Matrix x = matrix(20, 32), w = matrix(12, 32), y = matrix(20, 12);
  expect_failure([&] { linear(y, x, w); }, RL_UNSUPPORTED, {"[20,32]", "[32,12]", "RLHF4J_CUDA_GEMM=auto"});
}

TEST_F(CublasLtTest, SaysWhatFailed) {
  open("cublaslt");
  calls.fails = true;
  Matrix x = matrix(20, 32), w = matrix(12, 32), y = matrix(20, 12);
  expect_failure([&] { linear(y, x, w); }, RL_INTERNAL, {"cublasLtMatmul: ", "RLHF4J_CUDA_GEMM=own"});
  EXPECT_EQ(calls.created, calls.destroyed);
  device_->begin_op();
}

TEST_F(CublasLtTest, MissingIsAnErrorOnlyIfAskedFor) {
  const cuda::OpenGemmLibrary none = [](bool, std::string &why_not) -> std::unique_ptr<cuda::GemmLibrary> {
    why_not = "no such file";
    return nullptr;
  };
  expect_failure([&] { open("cublaslt", none); }, RL_UNSUPPORTED,
                 {"RLHF4J_CUDA_GEMM=cublaslt", "no such file", "RLHF4J_CUDA_CUBLASLT"});
  open("auto", none);
}

TEST_F(CublasLtTest, OtherFilesAreRefused) {
  CublasLt table;
  std::string why_not;
  EXPECT_FALSE(cuda::load_cublaslt("libnone-of-that-name.so", table, why_not));
  EXPECT_NE(why_not.find("libnone-of-that-name.so"), std::string::npos) << why_not;
  EXPECT_FALSE(cuda::load_cublaslt("libm.so.6", table, why_not));
  EXPECT_NE(why_not.find("libm.so.6 has no cublasLtCreate"), std::string::npos) << why_not;
}

// Everything up to the handle works without a GPU: attributes, their sizes, layouts, preferences.
TEST_F(CublasLtTest, TheRealLibraryTakesTheDescriptors) {
  if (!std::filesystem::exists(RL_CUBLASLT_FILE)) GTEST_SKIP() << "no " << RL_CUBLASLT_FILE;
  static CublasLt table;
  std::string why_not;
  ASSERT_TRUE(cuda::load_cublaslt(RL_CUBLASLT_FILE, table, why_not)) << why_not;
  table.cublasLtCreate = [](cublasLtHandle_t *handle) {
    *handle = nullptr;
    return CUBLAS_STATUS_SUCCESS;
  };
  table.cublasLtDestroy = [](cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; };
  table.cublasLtMatmulAlgoGetHeuristic =
      [](cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
         cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int, cublasLtMatmulHeuristicResult_t *, int *count) {
        calls.choices++;
        *count = 0;
        return CUBLAS_STATUS_SUCCESS;
      };
  open("cublaslt", [](bool tf32, std::string &) { return cuda::cublaslt_library(table, tf32); });
  Matrix x = matrix(20, 32), w = matrix(12, 32), y = matrix(20, 12), bias = matrix(1, 12);
  bias.view.rank = 1;
  bias.view.shape[0] = 12;
  bias.view.shape[1] = 1;
  for (bool along : {false, true}) {
    device_->begin_op();
    EXPECT_FALSE(device_->multiply_by_library({y.view, along ? x.view : matrix(32, 20).view, along,
                                               along ? w.view : matrix(32, 12).view, along, bias.view, along},
                                              false));
  }
  EXPECT_EQ(calls.choices, 2);
}

}  // namespace
}  // namespace rl::emulator

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
