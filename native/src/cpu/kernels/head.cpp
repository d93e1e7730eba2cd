// Language-model head fused with log-softmax: z = x W^T / temperature for a few rows at a time, in f32, in scratch memory of
// bounded size; then one sweep over each row. The backward makes the logits again, turns them into dz in place, and multiplies:
// gradX = dz W, gradW += dz^T x. Formulas: rlhf4j.h.
#include <omp.h>

#include "cpu/kernels/indices.h"
#include "cpu/kernels/multiply.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {
namespace {

constexpr int64_t kScratchFloats = int64_t{4} << 20;  // of logits: 16 MiB

int64_t chunk_rows(int64_t vocabulary, int64_t rows) {
  const int64_t fit = kScratchFloats / vocabulary;
  const int64_t n = fit < 1 ? 1 : fit;
  return n < rows ? n : rows;
}

/// z [rows,V] = x W^T, f32.
void logits_of(CpuDevice &device, float *z, const View &x, const Weight &w) {
  multiply(device, matrix(z, RL_F32, x.rows(), w.n, w.n), x, cpu(w).forward(), nullptr, false);
}

/// Scales a row in place and tells its log-sum-exp.
float scale_and_lse(float *z, int64_t n, float inverse) {
  float top = z[0] * inverse;
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < n; i++) {
    z[i] *= inverse;
    top = z[i] > top ? z[i] : top;
  }
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) sum += exp_f32(z[i] - top);
  return top + __builtin_logf(sum);
}

/// gradX = dz W and gradW += dz^T x for a chunk of rows; dz is f32 and is cast to the weight's dtype for the products.
void finish_backward(CpuDevice &device, View gradX, View gradW, View x, const Weight &weight, float *dz, int64_t rows) {
  const int64_t n = weight.n;
  View d = matrix(dz, RL_F32, rows, n, n);
  if (weight.dtype == RL_BF16) {
    bf16 *narrow = device.scratch<bf16>(rows * n);
#pragma omp parallel for simd schedule(static) num_threads(device.threads())
    for (int64_t i = 0; i < rows * n; i++) narrow[i] = from_f32<bf16>(dz[i]);
    d = matrix(narrow, RL_BF16, rows, n, n);
  }
  if (gradX) linear_backward_input(device, gradX, d, weight, false);
  if (gradW) multiply_transposed(device, gradW, d, x);
}

void check_targets(View targets, int64_t vocabulary, bool mayIgnore) {
  for (int64_t t = 0; t < targets.elements(); t++) {
    const int32_t id = targets.i32()[t];
    if ((id < 0 || id >= vocabulary) && !(mayIgnore && id == -100)) {
      fail(RL_INVALID_ARGUMENT, "targets[%lld] is %d, expected 0 to %lld%s", static_cast<long long>(t), id,
           static_cast<long long>(vocabulary - 1), mayIgnore ? " or -100" : "");
    }
  }
}

View part_of(const View &rows, int64_t from, int64_t to) { return rows ? rows_of(rows, from, to) : View(); }

}  // namespace

void head_logprob(Device &device, View logp, View entropy, View lse, View x, const Weight &weight, View targets,
                  float temperature) {
  const int64_t n = weight.n, rows = x.rows(), chunk = chunk_rows(n, rows);
  check_targets(targets, n, false);
  float *z = cpu(device).scratch<float>(chunk * n);
  for (int64_t from = 0; from < rows; from += chunk) {
    const int64_t count = rows - from < chunk ? rows - from : chunk;
    logits_of(cpu(device), z, rows_of(x, from, from + count), weight);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (count > 1)
    for (int64_t r = 0; r < count; r++) {
      float *row = z + r * n;
      const int64_t t = from + r;
      const float l = scale_and_lse(row, n, 1.0f / temperature);
      lse.f32()[t] = l;
      logp.f32()[t] = row[targets.i32()[t]] - l;
      if (!entropy) continue;
      float h = 0;
#pragma omp simd reduction(+ : h)
      for (int64_t i = 0; i < n; i++) {
        const float lp = row[i] - l;
        h -= exp_f32(lp) * lp;
      }
      entropy.f32()[t] = h;
    }
  }
}

void head_logprob_backward(Device &device, View gradX, View gradW, View gradLogp, View gradEntropy, View x,
                           const Weight &weight, View targets, View lse, View entropy, float temperature) {
  const int64_t n = weight.n, rows = x.rows(), chunk = chunk_rows(n, rows);
  check_targets(targets, n, false);
  const float inverse = 1.0f / temperature;
  float *z = cpu(device).scratch<float>(chunk * n);
  for (int64_t from = 0; from < rows; from += chunk) {
    const int64_t count = rows - from < chunk ? rows - from : chunk;
    const View part = rows_of(x, from, from + count);
    logits_of(cpu(device), z, part, weight);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (count > 1)
    for (int64_t r = 0; r < count; r++) {
      float *row = z + r * n;
      const int64_t t = from + r;
      const float l = lse.f32()[t], g = gradLogp.f32()[t] * inverse;
      if (entropy) {
        const float ge = gradEntropy.f32()[t] * inverse, h = entropy.f32()[t];
        RL_SIMD
        for (int64_t i = 0; i < n; i++) {
          const float lp = row[i] * inverse - l;
          row[i] = -exp_f32(lp) * (g + ge * (lp + h));
        }
      } else {
        RL_SIMD
        for (int64_t i = 0; i < n; i++) row[i] = -g * exp_f32(row[i] * inverse - l);
      }
      row[targets.i32()[t]] += g;
    }
    finish_backward(cpu(device), part_of(gradX, from, from + count), gradW, part, weight, z, count);
  }
}

void head_cross_entropy(Device &device, View loss, View gradX, View gradW, View x, const Weight &weight, View targets,
                        float gradScale) {
  const int64_t n = weight.n, rows = x.rows(), chunk = chunk_rows(n, rows);
  check_targets(targets, n, true);
  float *z = cpu(device).scratch<float>(chunk * n), *losses = cpu(device).scratch<float>(rows);
  for (int64_t from = 0; from < rows; from += chunk) {
    const int64_t count = rows - from < chunk ? rows - from : chunk;
    const View part = rows_of(x, from, from + count);
    logits_of(cpu(device), z, part, weight);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (count > 1)
    for (int64_t r = 0; r < count; r++) {
      float *row = z + r * n;
      const int32_t target = targets.i32()[from + r];
      if (target == -100) {
        losses[from + r] = 0;
        for (int64_t i = 0; i < n; i++) row[i] = 0;
        continue;
      }
      const float l = scale_and_lse(row, n, 1.0f);
      losses[from + r] = l - row[target];
      if (!gradX && !gradW) continue;
      RL_SIMD
      for (int64_t i = 0; i < n; i++) row[i] = gradScale * exp_f32(row[i] - l);
      row[target] -= gradScale;
    }
    if (gradX || gradW) finish_backward(cpu(device), part_of(gradX, from, from + count), gradW, part, weight, z, count);
  }
  double sum = 0, counted = 0;
  for (int64_t t = 0; t < rows; t++) {
    sum += static_cast<double>(losses[t]);
    counted += targets.i32()[t] == -100 ? 0 : 1;
  }
  loss.f32()[0] = static_cast<float>(sum);
  loss.f32()[1] = static_cast<float>(counted);
}

void head_full_kl(Device &device, View kl, View lse, View lseRef, View x, const Weight &weight, View xRef,
                  const Weight &weightRef, float temperature) {
  const int64_t n = weight.n, rows = x.rows(), chunk = chunk_rows(2 * n, rows);
  float *z = cpu(device).scratch<float>(chunk * n), *zr = cpu(device).scratch<float>(chunk * n);
  for (int64_t from = 0; from < rows; from += chunk) {
    const int64_t count = rows - from < chunk ? rows - from : chunk;
    logits_of(cpu(device), z, rows_of(x, from, from + count), weight);
    logits_of(cpu(device), zr, rows_of(xRef, from, from + count), weightRef);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (count > 1)
    for (int64_t r = 0; r < count; r++) {
      float *p = z + r * n, *q = zr + r * n;
      const float l = scale_and_lse(p, n, 1.0f / temperature), lr = scale_and_lse(q, n, 1.0f / temperature);
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < n; i++) sum += exp_f32(p[i] - l) * ((p[i] - l) - (q[i] - lr));
      kl.f32()[from + r] = sum;
      lse.f32()[from + r] = l;
      lseRef.f32()[from + r] = lr;
    }
  }
}

void head_full_kl_backward(Device &device, View gradX, View gradW, View gradKl, View x, const Weight &weight, View xRef,
                           const Weight &weightRef, View lse, View lseRef, View kl, float temperature) {
  const int64_t n = weight.n, rows = x.rows(), chunk = chunk_rows(2 * n, rows);
  const float inverse = 1.0f / temperature;
  float *z = cpu(device).scratch<float>(chunk * n), *zr = cpu(device).scratch<float>(chunk * n);
  for (int64_t from = 0; from < rows; from += chunk) {
    const int64_t count = rows - from < chunk ? rows - from : chunk;
    const View part = rows_of(x, from, from + count);
    logits_of(cpu(device), z, part, weight);
    logits_of(cpu(device), zr, rows_of(xRef, from, from + count), weightRef);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (count > 1)
    for (int64_t r = 0; r < count; r++) {
      float *p = z + r * n;
      const float *q = zr + r * n;
      const float l = lse.f32()[from + r], lr = lseRef.f32()[from + r], k = kl.f32()[from + r];
      const float g = gradKl.f32()[from + r] * inverse;
      RL_SIMD
      for (int64_t i = 0; i < n; i++) {
        const float lp = p[i] * inverse - l;
        p[i] = g * exp_f32(lp) * (lp - (q[i] * inverse - lr) - k);
      }
    }
    finish_backward(cpu(device), part_of(gradX, from, from + count), gradW, part, weight, z, count);
  }
}

}  // namespace rl::cpu::RL_ISA
