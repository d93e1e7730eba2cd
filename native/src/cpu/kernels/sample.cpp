// ids[b] ~ softmax(logits[b] / temperature) after top-k and top-p, in the order of transformers' warpers; Philox(seed;
// streams[b], steps[b]). The cuts are found by counting over the bits of the values: no sort. The draw goes through the ids in
// ascending order, so that it depends on nothing but the logits and the counter.
#include "cpu/kernels/indices.h"
#include "cpu/kernels/simd.h"
#include "dispatch/philox.h"

namespace rl::cpu::RL_ISA {
namespace {

constexpr int kBins = 2048;

/// Orders floats as unsigned integers.
RL_INLINE uint32_t key_of(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/// The largest key K such that the weight of all elements with key >= K is at least `wanted`; `above` becomes the weight of
/// those with a key > K. weight_of(i) = 0 leaves an element out. Three rounds of 11, 11 and 10 bits.
template <class WeightOf>
uint32_t cut(const float *z, int64_t n, double wanted, double *bins, double &above, WeightOf weight_of) {
  uint32_t prefix = 0;
  above = 0;
  const int shifts[3] = {21, 10, 0}, widths[3] = {11, 11, 10};
  for (int round = 0; round < 3; round++) {
    const int shift = shifts[round], count = 1 << widths[round];
    for (int i = 0; i < count; i++) bins[i] = 0;
    for (int64_t i = 0; i < n; i++) {
      const uint32_t key = key_of(z[i]);
      if (round > 0 && key >> (shift + widths[round]) != prefix >> (shift + widths[round])) continue;
      bins[(key >> shift) & static_cast<uint32_t>(count - 1)] += weight_of(i);
    }
    int bin = count - 1;
    while (bin > 0 && above + bins[bin] < wanted) above += bins[bin--];
    prefix |= static_cast<uint32_t>(bin) << shift;
  }
  return prefix;
}

struct Row {
  const float *logits;
  float *z;  // scaled logits, then
  float *p;  // weights
  double *bins;
};

/// log softmax(logits / temperature)[id]
float logp_of(const float *logits, int64_t n, int64_t id, float inverse) {
  float top = logits[0] * inverse;
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < n; i++) top = logits[i] * inverse > top ? logits[i] * inverse : top;
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) sum += exp_f32(logits[i] * inverse - top);
  return logits[id] * inverse - top - __builtin_logf(sum);
}

/// Draws from the weights p with the uniform u.
int64_t draw(const float *p, int64_t n, float u) {
  const int64_t block = 256;
  double total = 0;
  for (int64_t from = 0; from < n; from += block) {
    const int64_t to = from + block < n ? from + block : n;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = from; i < to; i++) sum += p[i];
    total += static_cast<double>(sum);
  }
  const double target = static_cast<double>(u) * total;
  double before = 0;
  int64_t last = 0;
  for (int64_t from = 0; from < n; from += block) {
    const int64_t to = from + block < n ? from + block : n;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = from; i < to; i++) sum += p[i];
    if (before + static_cast<double>(sum) > target) {
      double within = before;
      for (int64_t i = from; i < to; i++) {
        if (p[i] <= 0) continue;
        within += static_cast<double>(p[i]);
        last = i;
        if (within > target) return i;
      }
      // Rounding kept the single sums below the block's: its last candidate it is.
      return last;
    }
    for (int64_t i = to - 1; i >= from; i--) {
      if (p[i] > 0) {
        last = i;
        break;
      }
    }
    before += static_cast<double>(sum);
  }
  return last;
}

/// The id of one row, or -1 if the logits hold NaN or nothing above -infinity.
int64_t sample_row(const Row &row, int64_t n, const rl_sample_config &c, const int32_t *suppress, int64_t suppressed,
                   uint64_t stream, uint32_t step) {
  const bool greedy = c.temperature == 0;
  const float inverse = greedy ? 1.0f : 1.0f / c.temperature;
  float *z = row.z, *p = row.p;
  RL_SIMD
  for (int64_t i = 0; i < n; i++) z[i] = row.logits[i] * inverse + 0.0f;  // -0 becomes 0: equals have equal keys
  int nan = 0;
#pragma omp simd reduction(| : nan)
  for (int64_t i = 0; i < n; i++) nan |= z[i] != z[i] ? 1 : 0;
  if (nan) return -1;
  for (int64_t s = 0; s < suppressed; s++) z[suppress[s]] = -__builtin_inff();
  float top = -__builtin_inff();
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < n; i++) top = z[i] > top ? z[i] : top;
  if (top == -__builtin_inff() || top == __builtin_inff()) return -1;
  if (greedy) {
    int64_t id = 0;
    while (z[id] != top) id++;
    return id;
  }
  double above;
  uint32_t lowest = 0;
  if (c.top_k > 0 && c.top_k < n) {
    lowest = cut(z, n, c.top_k, row.bins, above, [](int64_t) { return 1.0; });
  }
  RL_SIMD
  for (int64_t i = 0; i < n; i++) p[i] = exp_f32(z[i] - top);
  if (lowest) {
    for (int64_t i = 0; i < n; i++) p[i] = key_of(z[i]) < lowest ? 0 : p[i];
  }
  if (c.top_p < 1) {
    double total = 0;
    for (int64_t i = 0; i < n; i++) total += static_cast<double>(p[i]);
    const double wanted = static_cast<double>(c.top_p) * total;
    lowest = cut(z, n, wanted, row.bins, above, [p](int64_t i) { return static_cast<double>(p[i]); });
    // Of several with the last value, only as many as the mass needs, lowest ids first.
    for (int64_t i = 0; i < n; i++) {
      const uint32_t key = key_of(z[i]);
      if (key < lowest) {
        p[i] = 0;
      } else if (key == lowest && p[i] > 0) {
        if (above >= wanted) {
          p[i] = 0;
        } else {
          above += static_cast<double>(p[i]);
        }
      }
    }
  }
  const Philox4 random = philox(c.seed, stream, step, 0);
  return draw(p, n, philox_uniform(random.word[0]));
}

}  // namespace

void sample(Device &device, View ids, View logp, View logits, View streams, View steps, View suppress, View allow,
            const rl_sample_config &c) {
  const int64_t rows = logits.rows(), n = logits.cols();
  if (suppress) check_indices("suppress", suppress, n);
  float *scratch = cpu(device).scratch<float>(rows * n * 2);
  double *bins = cpu(device).scratch<double>(rows * kBins);
#pragma omp parallel for schedule(dynamic, 1) num_threads(cpu(device).threads()) if (rows > 1 && rows * n > 8192)
  for (int64_t b = 0; b < rows; b++) {
    const Row row{logits.row<float>(b), scratch + b * n * 2, scratch + b * n * 2 + n, bins + b * kBins};
    const bool cut_off = suppress && allow.i32()[b] == 0;
    const int64_t id = sample_row(row, n, c, cut_off ? suppress.i32() : nullptr, cut_off ? suppress.elements() : 0,
                                  static_cast<uint64_t>(static_cast<uint32_t>(streams.i32()[b])),
                                  static_cast<uint32_t>(steps.i32()[b]));
    ids.i32()[b] = static_cast<int32_t>(id);
    if (logp && id >= 0) logp.f32()[b] = logp_of(row.logits, n, id, c.temperature == 0 ? 1.0f : 1.0f / c.temperature);
  }
  for (int64_t b = 0; b < rows; b++) {
    if (ids.i32()[b] < 0) {
      fail(RL_INVALID_ARGUMENT, "logits: row %lld holds NaN, infinity, or nothing to choose from",
           static_cast<long long>(b));
    }
  }
}

}  // namespace rl::cpu::RL_ISA
