// p = softmax(z), z = x W^T / temperature; q = softmax(zRef), zRef = xRef Wref^T / temperature.
// kl = sum_v p_v (log p_v - log q_v) = sum_v p_v (z_v - zRef_v) - lse + lseRef.  kl, lse, lseRef [T]  (=)
// dz_v = gradKl p_v (log p_v - log q_v - kl) / temperature;  gradX = dz W  (=);  gradW += dz^T x.
// The reference is frozen.
#include "cpu/kernels/head.h"

namespace rl::cpu::RL_ISA {

void head_full_kl(Device &device, View kl, View lse, View lseRef, View x, const Weight &weight, View xRef,
                  const Weight &weightRef, float temperature) {
  const CpuWeight &w = cpu(weight), &wr = cpu(weightRef);
  const float scale = 1 / temperature;
  const int64_t rows = x.rows(), tile_rows = even_tiles(rows, kHeadRows / 2),
                columns = tile_columns(2 * tile_rows, w.n);
  float *z = cpu(device).scratch<float>(tile_rows * columns), *zRef = cpu(device).scratch<float>(tile_rows * columns);
  RowSums *sums = cpu(device).scratch<RowSums>(2 * tile_rows);
  for (int64_t t0 = 0; t0 < rows; t0 += tile_rows) {
    const int64_t count = smaller(tile_rows, rows - t0);
    for (int64_t v0 = 0; v0 < w.n; v0 += columns) {
      const int64_t v1 = smaller(v0 + columns, w.n), n = v1 - v0;
      make_logits(cpu(device), z, rows_of(x, t0, t0 + count), w, v0, v1);
      make_logits(cpu(device), zRef, rows_of(xRef, t0, t0 + count), wr, v0, v1);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (count * n > 16384)
      for (int64_t r = 0; r < count; r++) {
        const float *a = z + r * n, *b = zRef + r * n;
        add_logits(sums[2 * r + 1], b, n, scale, v0 == 0);
        RowSums &row = sums[2 * r];
        const float tile = largest(a, n) * scale;
        if (v0 == 0) {
          row = {0, 0, tile, 0};
        } else if (tile > row.max) {
          rescale(row, tile, false);
        }
        const float max = row.max;
        float sum = 0, weighted = 0;
#pragma omp simd reduction(+ : sum, weighted)
        for (int64_t i = 0; i < n; i++) {
          const float e = exp_f32(a[i] * scale - max);
          sum += e;
          weighted += e * (a[i] - b[i]);
        }
        row.sum += static_cast<double>(sum);
        row.weighted += static_cast<double>(weighted) * static_cast<double>(scale);
      }
    }
    for (int64_t r = 0; r < count; r++) {
      const double total = log_sum_exp(sums[2 * r]), ref = log_sum_exp(sums[2 * r + 1]);
      lse.f32()[t0 + r] = static_cast<float>(total);
      lseRef.f32()[t0 + r] = static_cast<float>(ref);
      kl.f32()[t0 + r] = static_cast<float>(sums[2 * r].weighted / sums[2 * r].sum - total + ref);
    }
  }
}

void head_full_kl_backward(Device &device, View gradX, View gradW, View gradKl, View x, const Weight &weight, View xRef,
                           const Weight &weightRef, View lse, View lseRef, View kl, float temperature) {
  const float scale = 1 / temperature;
  const CpuWeight &wr = cpu(weightRef);
  head_backward(cpu(device), gradX, gradW, x, cpu(weight), xRef, &wr,
                [&](int64_t t, int64_t, int64_t n, const float *z, const float *zRef, auto *dz) {
                  const float g = gradKl.f32()[t] * scale, p = lse.f32()[t], q = lseRef.f32()[t], row = kl.f32()[t];
                  RL_SIMD
                  for (int64_t i = 0; i < n; i++) {
                    const float log_p = z[i] * scale - p;
                    store(dz[i], g * exp_f32(log_p) * (log_p - (zRef[i] * scale - q) - row));
                  }
                });
}

}  // namespace rl::cpu::RL_ISA
