// Y[m,n] = X[m,k] B[k,n] (+ Y) (+ bias), f32 sums in the order of k.
// Packed (frozen) matrices: a kernel of our own that streams the panels of B, some rows by some columns in registers.
// Matrices that change (views): oneDNN, where it is optimised for the dtype.
#include "cpu/kernels/multiply.h"

#include <omp.h>

#include "cpu/gemm.h"
#include "cpu/kernels/nf4_multiply.h"
#include "cpu/kernels/simd.h"

#if defined(__AVX512BW__)
#include <immintrin.h>
#endif

namespace rl::cpu::RL_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kWidth = 16, kVectors = 4, kRows = 6;
#elif defined(__AVX2__)
constexpr int kWidth = 8, kVectors = 2, kRows = 6;
#else
constexpr int kWidth = 4, kVectors = 2, kRows = 4;
#endif
constexpr int64_t kColumns = kWidth * kVectors;
/// Rows of X that one task takes: its slice of X stays in the second-level cache while a panel passes by.
constexpr int64_t kTaskRows = 48;

typedef float Vec __attribute__((vector_size(kWidth * 4)));
typedef uint32_t Bits __attribute__((vector_size(kWidth * 4)));

// One tile: R rows by kColumns columns; out has rows of kPanel. x: row r begins at x + r * ldx.
template <int R>
void tile(float *out, const float *x, int64_t ldx, const float *panel, int64_t k) {
  Vec sum[R][kVectors] = {};
  for (int64_t i = 0; i < k; i++) {
    Vec b[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; v++) __builtin_memcpy(&b[v], panel + i * kPanel + v * kWidth, sizeof(Vec));
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; v++) sum[r][v] += b[v] * x[r * ldx + i];
    }
  }
  for (int r = 0; r < R; r++) {
    for (int v = 0; v < kVectors; v++) __builtin_memcpy(out + r * kPanel + v * kWidth, &sum[r][v], sizeof(Vec));
  }
}

RL_INLINE float low(uint32_t pair) {
  const uint32_t bits = pair << 16;
  float y;
  __builtin_memcpy(&y, &bits, 4);
  return y;
}

RL_INLINE float high(uint32_t pair) {
  const uint32_t bits = pair & 0xffff0000u;
  float y;
  __builtin_memcpy(&y, &bits, 4);
  return y;
}

// bf16 in pairs of k; k is even here: by_panels sees to it.
template <int R>
void tile(float *out, const bf16 *x, int64_t ldx, const bf16 *panel, int64_t k) {
  Vec sum[R][kVectors] = {};
  for (int64_t i = 0; i < k; i += 2) {
    Vec even[kVectors], odd[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; v++) {
      Bits b;
      __builtin_memcpy(&b, panel + i * kPanel + v * kWidth * 2, sizeof(Bits));
      even[v] = reinterpret_cast<Vec>(b << 16);
      odd[v] = reinterpret_cast<Vec>(b & 0xffff0000u);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      uint32_t pair;
      __builtin_memcpy(&pair, x + r * ldx + i, 4);
      const float x0 = low(pair), x1 = high(pair);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; v++) sum[r][v] += even[v] * x0;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; v++) sum[r][v] += odd[v] * x1;
    }
  }
  for (int r = 0; r < R; r++) {
    for (int v = 0; v < kVectors; v++) __builtin_memcpy(out + r * kPanel + v * kWidth, &sum[r][v], sizeof(Vec));
  }
}

#if defined(__AVX512BW__)
bool has_dot_product() {
  static const bool has = __builtin_cpu_supports("avx512bf16");
  return has;
}

/// What to prefetch: bytes from `at` on as if they followed `base`, of which `jump` are left out after every square of a panel.
struct Ahead {
  const char *base;
  int64_t at, jump;

  RL_INLINE void fetch(int64_t offset) const {
    constexpr int64_t square = kPanel * kPanel * 2;
    __builtin_prefetch(base + at + offset + (at + offset) / square * jump, 0, 2);
  }
};

/// Lines cache lines of `ahead` come in with each step.
template <int R, int Lines>
__attribute__((target("avx512bf16"))) void tile_dot(float *out, const bf16 *x, int64_t ldx, const bf16 *panel,
                                                    int64_t k, Ahead ahead) {
  __m512 sum[R][4];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) sum[r][v] = _mm512_setzero_ps();
  }
  for (int64_t i = 0; i < k; i += 2) {
    __m512i b[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) b[v] = _mm512_loadu_si512(panel + i * kPanel + v * 32);
#pragma GCC unroll 4
    for (int v = 0; v < Lines; v++) ahead.fetch(i / 2 * (64 * Lines) + v * 64);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      int32_t pair;
      __builtin_memcpy(&pair, x + r * ldx + i, 4);
      const __m512bh a = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
#pragma GCC unroll 4
      for (int v = 0; v < 4; v++) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], a, reinterpret_cast<__m512bh>(b[v]));
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) _mm512_storeu_ps(out + r * kPanel + v * 16, sum[r][v]);
  }
}
#endif

/// Group `group` of `groups` of rows that pass over one panel. All but the first find it in cache: meanwhile the next
/// panel comes in, a share with each group. A single group is bound by memory and looks just a page ahead, since the
/// hardware's own prefetcher stops at a page's border; of panels that are turned it looks at the next, too.
struct Pass {
  int64_t group, groups;
  const char *next;  // the panel as it is stored
  int64_t jump;      // between its squares; 0: none
};

template <int R, class T>
void panel_rows(float *out, const T *x, int64_t ldx, const T *panel, int64_t k, int64_t kp, Pass pass, bool dot) {
#if defined(__AVX512BW__)
  if constexpr (sizeof(T) == 2) {
    if (dot) {
      if (pass.groups == 1 && !pass.jump) {
        tile_dot<R, 4>(out, x, ldx, panel, k, {reinterpret_cast<const char *>(panel), 4096, 0});
      } else if (pass.groups == 1) {
        tile_dot<R, 4>(out, x, ldx, panel, k, {pass.next, 0, pass.jump});
      } else if (pass.groups == 2) {
        tile_dot<R, 2>(out, x, ldx, panel, k, {pass.next, pass.group * kp * kPanel, pass.jump});
      } else {
        tile_dot<R, 1>(out, x, ldx, panel, k, {pass.next, pass.group % 4 * kp * (kPanel / 2), pass.jump});
      }
      return;
    }
  }
#endif
  (void)kp, (void)pass, (void)dot;
  constexpr int64_t pair = sizeof(T) == 2 ? 2 : 1;
  for (int64_t c = 0; c < kPanel; c += kColumns) tile<R>(out + c, x, ldx, panel + c * pair, k);
}

template <class T>
void panel_rows(int rows, float *out, const T *x, int64_t ldx, const T *panel, int64_t k, int64_t kp, Pass pass,
                bool dot) {
  switch (rows) {
    case 1:
      return panel_rows<1>(out, x, ldx, panel, k, kp, pass, dot);
    case 2:
      return panel_rows<2>(out, x, ldx, panel, k, kp, pass, dot);
    case 3:
      return panel_rows<3>(out, x, ldx, panel, k, kp, pass, dot);
    case 4:
      return panel_rows<4>(out, x, ldx, panel, k, kp, pass, dot);
    case 5:
      if constexpr (kRows >= 5) return panel_rows<5>(out, x, ldx, panel, k, kp, pass, dot);
      break;
    default:
      if constexpr (kRows >= 6) return panel_rows<6>(out, x, ldx, panel, k, kp, pass, dot);
  }
}

template <class Y>
RL_INLINE void finish(Y *y, const float *sum, int64_t n, const float *bias, bool accumulate) {
  if (bias && accumulate) {
    RL_SIMD
    for (int64_t i = 0; i < n; i++) y[i] = from_f32<Y>(to_f32(y[i]) + sum[i] + bias[i]);
  } else if (bias) {
    RL_SIMD
    for (int64_t i = 0; i < n; i++) y[i] = from_f32<Y>(sum[i] + bias[i]);
  } else if (accumulate) {
    RL_SIMD
    for (int64_t i = 0; i < n; i++) y[i] = from_f32<Y>(to_f32(y[i]) + sum[i]);
  } else {
    RL_SIMD
    for (int64_t i = 0; i < n; i++) y[i] = from_f32<Y>(sum[i]);
  }
}

/// Panel p of B = W [k,n] from the panels of W^T, by squares of 64 by 64, which stay in the first-level cache. bf16 of both
/// lie in pairs of the contraction: two numbers of two rows are a square of their own.
void turn_panel(bf16 *out, const Matrix &b, int64_t p) {
  const int64_t stride = padded_k(b.n, RL_BF16) * kPanel, begin = p * kPanel * kPanel;
  const int64_t pairs = (stride - begin < kPanel * kPanel ? stride - begin : kPanel * kPanel) / kPanel / 2;
  if (pairs < kPanel / 2) __builtin_memset(out, 0, static_cast<size_t>((b.k + 1) / 2 * kPanel * 4));
  for (int64_t i0 = 0; i0 < b.k; i0 += kPanel) {
    const char *square = static_cast<const char *>(b.data) + (i0 / kPanel * stride + begin) * 2;
    char *target = reinterpret_cast<char *>(out + i0 * kPanel);
    const int64_t rows = b.k - i0 < kPanel ? b.k - i0 : kPanel;
    for (int64_t j = 0; j < pairs; j++) {
      for (int64_t i = 0; i < rows; i += 2) {
        uint32_t two[2];
        __builtin_memcpy(two, square + (j * kPanel + i) * 4, 8);
        const uint32_t turned[2] = {(two[0] & 0xffffu) | two[1] << 16, two[0] >> 16 | (two[1] & 0xffff0000u)};
        __builtin_memcpy(target + (i / 2 * kPanel + j * 2) * 4, turned, 8);
      }
    }
  }
}

void turn_panel(float *out, const Matrix &b, int64_t p) {
  const int64_t stride = padded_k(b.n, RL_F32) * kPanel, begin = p * kPanel * kPanel;
  const int64_t columns = (stride - begin < kPanel * kPanel ? stride - begin : kPanel * kPanel) / kPanel;
  if (columns < kPanel) __builtin_memset(out, 0, static_cast<size_t>(b.k * kPanel) * 4);
  for (int64_t i0 = 0; i0 < b.k; i0 += kPanel) {
    const float *square = static_cast<const float *>(b.data) + i0 / kPanel * stride + begin;
    const int64_t rows = b.k - i0 < kPanel ? b.k - i0 : kPanel;
    for (int64_t j = 0; j < columns; j++) {
      for (int64_t i = 0; i < rows; i++) out[(i0 + i) * kPanel + j] = square[j * kPanel + i];
    }
  }
}

template <class T, class Y>
void multiply_panels(CpuDevice &device, const View &y, const View &x, const Matrix &b, const float *bias,
                     bool accumulate) {
  const int64_t m = x.rows(), k = b.k, kp = padded_k(k, b.dtype);
  const int64_t steps = sizeof(T) == 2 ? (k + 1) / 2 * 2 : k;
  const int64_t panels = (b.n + kPanel - 1) / kPanel, blocks = (m + kTaskRows - 1) / kTaskRows;
  const T *data = static_cast<const T *>(b.data);
#if defined(__AVX512BW__)
  const bool dot = has_dot_product();
#else
  const bool dot = false;
#endif
  const bool turned = b.layout == Layout::panels_by_row;
  // Bytes from one stored panel to the next, and what lies between the squares of one.
  const int64_t step = (turned ? kPanel : kp) * kPanel * static_cast<int64_t>(sizeof(T));
  const int64_t jump = turned ? (padded_k(b.n, b.dtype) - kPanel) * kPanel * static_cast<int64_t>(sizeof(T)) : 0;
  T *scratch = turned ? device.scratch<T>(kp * kPanel * device.threads()) : nullptr;
  const bool parallel = m * b.n * k > 100000;
#pragma omp parallel num_threads(device.threads()) if (parallel)
  {
    T *mine = scratch + (turned ? kp * kPanel * omp_get_thread_num() : 0);
    int64_t ready = -1;  // the panel that lies in `mine`
#pragma omp for schedule(static)
    for (int64_t task = 0; task < panels * blocks; task++) {
      const int64_t p = task / blocks, block = task % blocks;
      const int64_t begin = block * m / blocks, end = (block + 1) * m / blocks;
      const int64_t width = b.n - p * kPanel < kPanel ? b.n - p * kPanel : kPanel;
      if (turned && p != ready) turn_panel(mine, b, ready = p);
      const T *panel = turned ? mine : data + p * kPanel * kp;
      alignas(64) float out[kRows * kPanel];
      const int64_t groups = (end - begin + kRows - 1) / kRows;
      for (int64_t g = 0; g < groups; g++) {
        const int64_t t0 = begin + g * (end - begin) / groups, t1 = begin + (g + 1) * (end - begin) / groups;
        panel_rows(static_cast<int>(t1 - t0), out, x.row<T>(t0), x.row_stride(), panel, steps, kp,
                   {g, groups, reinterpret_cast<const char *>(data) + (p + 1) * step, jump}, dot);
        for (int64_t t = t0; t < t1; t++) {
          finish(y.row<Y>(t) + p * kPanel, out + (t - t0) * kPanel, width, bias ? bias + p * kPanel : nullptr,
                 accumulate);
        }
      }
    }
  }
}

void by_panels(CpuDevice &device, const View &y, View x, Matrix b, const float *bias, bool accumulate) {
  if (b.layout != Layout::panels && b.layout != Layout::panels_by_row) {
    char *packed = device.scratch<char>(panels_size(b.k, b.n, b.dtype) * (b.dtype == RL_BF16 ? 2 : 4));
    fill_panels(packed, b, device.threads());
    b.data = packed;
    b.layout = Layout::panels;
  }
  if (b.dtype == RL_BF16 && b.k % 2) {
    // Pairs of k: the last one needs a zero at its side.
    const int64_t m = x.rows(), even = b.k + 1;
    bf16 *copy = device.scratch<bf16>(m * even);
    for (int64_t t = 0; t < m; t++) {
      __builtin_memcpy(copy + t * even, x.row<bf16>(t), static_cast<size_t>(b.k) * 2);
      copy[t * even + b.k].bits = 0;
    }
    x = matrix(copy, RL_BF16, m, even, even);
  }
  with_float(b.dtype, [&](auto tx) {
    with_float(y.dtype,
               [&](auto ty) { multiply_panels<decltype(tx), decltype(ty)>(device, y, x, b, bias, accumulate); });
  });
}

/// Rows that our kernel takes at a time. It is as fast as oneDNN (measured, Zen 4: 205-220 against 205-225 GFLOP/s a core in
/// bf16, 105-110 both in f32, for 1 to 256 rows of 576x576 to 1536x576), and needs no primitive for each number of rows.
constexpr int64_t kRowsAtOnce = 256;

}  // namespace

void multiply(CpuDevice &device, const View &y, const View &x, const Matrix &b, const float *bias, bool accumulate) {
  const int64_t m = x.rows();
  Gemm &gemm = device.gemm();
  const ScratchScope scope(device);
  if (gemm.optimised(b.dtype) && (b.layout == Layout::by_column || b.layout == Layout::by_row)) {
    gemm.multiply(device, y, x, b, bias, accumulate);
    return;
  }
  // A frozen matrix is our kernel's whatever the number of rows: a row's bits then do not depend on what else is in the
  // batch, and PPO's ratio starts at exactly 1.
  const bool nf4 = b.layout == Layout::nf4 || b.layout == Layout::nf4_by_row;
  for (int64_t t = 0; t < m; t += kRowsAtOnce) {
    const int64_t end = t + kRowsAtOnce < m ? t + kRowsAtOnce : m;
    const auto part = nf4 ? multiply_nf4 : by_panels;
    part(device, rows_of(y, t, end), rows_of(x, t, end), b, bias, accumulate);
  }
}

void multiply_transposed(CpuDevice &device, const View &y, const View &a, const View &b) {
  Gemm &gemm = device.gemm();
  const ScratchScope scope(device);
  if (a.dtype == RL_F32 || gemm.optimised(RL_BF16)) {
    gemm.add_transposed(device, y, a, b);
    return;
  }
  auto widened = [&](const View &v) {
    const int64_t rows = v.rows(), cols = v.cols();
    float *copy = device.scratch<float>(rows * cols);
#pragma omp parallel for schedule(static) num_threads(device.threads()) if (rows * cols > 8192)
    for (int64_t t = 0; t < rows; t++) {
      const bf16 *in = v.row<bf16>(t);
      RL_SIMD
      for (int64_t i = 0; i < cols; i++) copy[t * cols + i] = to_f32(in[i]);
    }
    return matrix(copy, RL_F32, rows, cols, cols);
  };
  gemm.add_transposed(device, y, widened(a), widened(b));
}

}  // namespace rl::cpu::RL_ISA
