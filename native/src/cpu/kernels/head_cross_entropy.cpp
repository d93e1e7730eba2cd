// loss[0] = -sum_t log softmax(x W^T)[t, targets[t]] over targets != -100, loss[1] = their number  (=).
// dz = gradScale (p - 1[v = target]), 0 where ignored;  gradX = dz W  (=);  gradW += dz^T x.
#include "cpu/kernels/head.h"

namespace rl::cpu::RL_ISA {
namespace {

/// With gradX alone, some tokens meet the whole vocabulary at once and logits are made only once. (With gradW the tiles
/// should be tall, see kHeadRows.) Fewer rows than this would read W too often.
constexpr int64_t kWholeRows = 32;

void in_one_sweep(CpuDevice &device, double &loss, const View &gradX, const View &x, const CpuWeight &w,
                  const int32_t *targets, float gradScale, int64_t most) {
  const int64_t rows = x.rows(), tile_rows = even_tiles(rows, most), v = w.n;
  float *z = device.scratch<float>(tile_rows * v);
  float *sum = device.scratch<float>(tile_rows * w.k);
  float *logp = device.scratch<float>(tile_rows);
  with_float(w.dtype, [&](auto type) {
    using D = decltype(type);
    D *dz = device.scratch<D>(tile_rows * v);
    for (int64_t t0 = 0; t0 < rows; t0 += tile_rows) {
      const int64_t count = smaller(tile_rows, rows - t0);
      make_logits(device, z, rows_of(x, t0, t0 + count), w, 0, v);
#pragma omp parallel for schedule(static) num_threads(device.threads()) if (count * v > 16384)
      for (int64_t r = 0; r < count; r++) {
        const float *in = z + r * v;
        D *out = dz + r * v;
        const int32_t target = targets[t0 + r];
        logp[r] = 0;
        if (target < 0) {
          __builtin_memset(out, 0, static_cast<size_t>(v) * sizeof(D));
          continue;
        }
        RowSums row;
        add_logits(row, in, v, 1, true);
        const double total = log_sum_exp(row);
        const float lse = static_cast<float>(total);
        logp[r] = static_cast<float>(static_cast<double>(in[target]) - total);
        RL_SIMD
        for (int64_t i = 0; i < v; i++) store(out[i], gradScale * exp_f32(in[i] - lse));
        store(out[target], gradScale * (exp_f32(in[target] - lse) - 1));
      }
      for (int64_t r = 0; r < count; r++) loss -= static_cast<double>(logp[r]);
      const View gx = matrix(sum, RL_F32, count, w.k, w.k);
      for (int64_t v0 = 0; v0 < v; v0 += kBackwardRows) {
        const int64_t v1 = smaller(v0 + kBackwardRows, v);
        multiply(device, gradX.dtype == RL_F32 ? rows_of(gradX, t0, t0 + count) : gx,
                 matrix(dz + v0, w.dtype, count, v1 - v0, v), w.backward(v0, v1), nullptr, v0 > 0);
      }
      if (gradX.dtype == RL_BF16) store_bf16(device, rows_of(gradX, t0, t0 + count), sum);
    }
  });
}

}  // namespace

void head_cross_entropy(Device &device, View loss, View gradX, View gradW, View x, const Weight &weight, View targets,
                        float gradScale) {
  check_targets(targets, weight.n, true);
  const CpuWeight &w = cpu(weight);
  const int32_t *ids = targets.i32();
  const int64_t rows = x.rows(), whole = kLogits * 3 / 2 / w.n;
  double total = 0;
  if (gradX && !gradW && (whole >= kWholeRows || whole >= rows)) {
    in_one_sweep(cpu(device), total, gradX, x, w, ids, gradScale, whole);
  } else {
    float *logp = cpu(device).scratch<float>(rows), *lse = cpu(device).scratch<float>(rows);
    softmax_rows(cpu(device), logp, nullptr, lse, x, w, ids, 1);
    for (int64_t t = 0; t < rows; t++) total -= static_cast<double>(logp[t]);
    head_backward(cpu(device), gradX, gradW, x, w, View(), nullptr,
                  [&](int64_t t, int64_t v0, int64_t n, const float *z, const float *, auto *dz) {
                    const float g = ids[t] < 0 ? 0 : gradScale, row = lse[t];
                    RL_SIMD
                    for (int64_t i = 0; i < n; i++) store(dz[i], g * exp_f32(z[i] - row));
                    const int64_t target = ids[t] - v0;
                    if (target >= 0 && target < n) store(dz[target], g * (exp_f32(z[target] - row) - 1));
                  });
  }
  int64_t valid = 0;
  for (int64_t t = 0; t < rows; t++) valid += ids[t] >= 0;
  loss.f32()[0] = static_cast<float>(total);
  loss.f32()[1] = static_cast<float>(valid);
}

}  // namespace rl::cpu::RL_ISA
