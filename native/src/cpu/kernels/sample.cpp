// ids[b] ~ softmax(logits[b] / temperature) after top-k and top-p, in the order of transformers' warpers; Philox(seed;
// streams[b], steps[b]). The draw goes through the ids in ascending order, so that it depends on nothing but the logits and
// the counter. The cuts need no sort: a bound leaves few candidates, and counting over the bits of these finds the cut.
#include <omp.h>

#include "cpu/kernels/indices.h"
#include "cpu/kernels/simd.h"
#include "dispatch/philox.h"

namespace rl::cpu::RL_ISA {
namespace {

constexpr int kBins = 2048;
constexpr int64_t kBlock = 64;      // of one maximum
constexpr int64_t kSumBlock = 256;  // of one sum in f32; sums of blocks are added in double

/// Orders floats as unsigned integers.
RL_INLINE uint32_t key_of(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

RL_INLINE float value_of(uint32_t key) {
  const uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
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

/// What one thread works with, for rows of n logits.
struct Workspace {
  float *z;       // [n] logits / temperature
  float *p;       // [n] exp(z - top)
  int32_t *ids;   // [n] of the candidates, once z and p are reduced to them
  float *maxima;  // [n / kBlock] of z
  float *sums;    // [n / kSumBlock] of p
  double *bins;   // [kBins]
};

struct Pick {
  int64_t id;  // -1: the row holds NaN, infinity, or nothing above -infinity
  float logp;
};

int64_t blocks_of(int64_t n, int64_t block) { return (n + block - 1) / block; }

/// maxima[b] = max of the b-th kBlock elements; returns the largest of all.
float block_maxima(const float *z, int64_t n, float *maxima) {
  float top = -__builtin_inff();
  for (int64_t b = 0; b * kBlock < n; b++) {
    const int64_t to = (b + 1) * kBlock < n ? (b + 1) * kBlock : n;
    float largest = -__builtin_inff();
#pragma omp simd reduction(max : largest)
    for (int64_t i = b * kBlock; i < to; i++) largest = z[i] > largest ? z[i] : largest;
    maxima[b] = largest;
    top = largest > top ? largest : top;
  }
  return top;
}

/// p = exp(z - top), sums[b] = sum of the b-th kSumBlock elements; returns the sum of all.
double weights(const float *z, int64_t n, float top, float *p, float *sums) {
  double total = 0;
  for (int64_t b = 0; b * kSumBlock < n; b++) {
    const int64_t to = (b + 1) * kSumBlock < n ? (b + 1) * kSumBlock : n;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = b * kSumBlock; i < to; i++) {
      p[i] = exp_f32(z[i] - top);
      sum += p[i];
    }
    sums[b] = sum;
    total += static_cast<double>(sum);
  }
  return total;
}

/// Draws from the weights of weights(), with the uniform u.
int64_t draw(const Workspace &w, int64_t n, double total, float u) {
  const double target = static_cast<double>(u) * total;
  double before = 0;
  int64_t last = 0;
  for (int64_t b = 0; b * kSumBlock < n; b++) {
    const double sum = static_cast<double>(w.sums[b]);
    if (sum > 0) last = b;
    if (before + sum > target) break;
    before += sum;
  }
  // Within the block in double, whose sum may fall short of the one in f32 by a rounding: then its last candidate it is.
  const int64_t to = (last + 1) * kSumBlock < n ? (last + 1) * kSumBlock : n;
  int64_t id = 0;
  for (int64_t i = last * kSumBlock; i < to; i++) {
    if (w.p[i] <= 0) continue;
    id = i;
    before += static_cast<double>(w.p[i]);
    if (before > target) break;
  }
  return id;
}

double sum_of(const float *p, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) sum += static_cast<double>(p[i]);
  return sum;
}

/// Draws from m candidates in ascending order of their ids.
int64_t draw_candidate(const Workspace &w, int64_t m, float u) {
  const double target = static_cast<double>(u) * sum_of(w.p, m);
  double sum = 0;
  int64_t id = 0;
  for (int64_t i = 0; i < m; i++) {
    if (w.p[i] <= 0) continue;
    id = w.ids[i];
    sum += static_cast<double>(w.p[i]);
    if (sum > target) break;
  }
  return id;
}

/// Reduces z and p, in place, to the elements with z >= bound; blocks whose maximum is below are skipped.
int64_t gather(const Workspace &w, int64_t n, float bound) {
  int64_t m = 0;
  for (int64_t b = 0; b * kBlock < n; b++) {
    if (w.maxima[b] < bound) continue;
    const int64_t to = (b + 1) * kBlock < n ? (b + 1) * kBlock : n;
    for (int64_t i = b * kBlock; i < to; i++) {
      const float z = w.z[i], p = w.p[i];
      w.z[m] = z;
      w.p[m] = p;
      w.ids[m] = static_cast<int32_t>(i);
      m += z >= bound ? 1 : 0;
    }
  }
  return m;
}

/// As gather, of candidates.
template <class Keep>
int64_t keep_if(const Workspace &w, int64_t m, Keep keep) {
  int64_t kept = 0;
  for (int64_t i = 0; i < m; i++) {
    const bool stays = keep(i);
    w.z[kept] = w.z[i];
    w.p[kept] = w.p[i];
    w.ids[kept] = w.ids[i];
    kept += stays ? 1 : 0;
  }
  return kept;
}

/// The candidates that top-k leaves: all that are not below the k-th largest.
int64_t top_k(const Workspace &w, int64_t n, int64_t k) {
  double above;
  const auto one = [](int64_t) { return 1.0; };
  // Of k blocks' maxima none is below the k-th largest of them, so neither is the k-th largest element.
  const int64_t blocks = blocks_of(n, kBlock);
  const double wanted = static_cast<double>(k);
  const float bound = k <= blocks ? value_of(cut(w.maxima, blocks, wanted, w.bins, above, one)) : -__builtin_inff();
  const int64_t m = gather(w, n, bound);
  if (m <= k) return m;
  const float *z = w.z;
  const uint32_t lowest = cut(z, m, wanted, w.bins, above, one);
  return keep_if(w, m, [z, lowest](int64_t i) { return key_of(z[i]) >= lowest; });
}

/// Of m candidates, the fewest whose mass is at least `wanted`: of several with the last value the lowest ids.
int64_t top_p(const Workspace &w, int64_t m, double wanted) {
  const float *z = w.z, *p = w.p;
  // Elements of at most (mass - wanted) / m have together no more than can be spared, so none of them is needed.
  double mass = sum_of(p, m);
  for (int round = 0; round < 8 && m > kBlock; round++) {
    const float spare = static_cast<float>(0.999 * (mass - wanted) / static_cast<double>(m));
    const int64_t before = m;
    m = keep_if(w, m, [p, spare](int64_t i) { return p[i] > spare; });
    mass = sum_of(p, m);
    if (m > before / 4 * 3) break;
  }
  double above;
  const uint32_t lowest = cut(z, m, wanted, w.bins, above, [p](int64_t i) { return static_cast<double>(p[i]); });
  return keep_if(w, m, [z, p, lowest, wanted, &above](int64_t i) {
    const uint32_t key = key_of(z[i]);
    if (key != lowest) return key > lowest;
    if (above >= wanted) return false;
    above += static_cast<double>(p[i]);
    return true;
  });
}

/// z = logits / temperature. Stored, since a product that is fused with a subtraction differs from its rounded self.
bool scale(const float *logits, int64_t n, float inverse, float *z) {
  int nan = 0;
#pragma omp simd reduction(| : nan)
  for (int64_t i = 0; i < n; i++) {
    z[i] = logits[i] * inverse + 0.0f;  // -0 becomes 0: equals have equal keys
    nan |= z[i] != z[i] ? 1 : 0;
  }
  return nan == 0;
}

Pick sample_row(const Workspace &w, const float *logits, int64_t n, const rl_sample_config &c, const int32_t *suppress,
                int64_t suppressed, uint64_t stream, uint32_t step, bool wants_logp) {
  const bool greedy = c.temperature == 0;
  const float inverse = greedy ? 1.0f : 1.0f / c.temperature;
  if (!scale(logits, n, inverse, w.z)) return {-1, 0};
  for (int64_t s = 0; s < suppressed; s++) {
    if (w.z[suppress[s]] == __builtin_inff()) return {-1, 0};  // no softmax, whether it can be chosen or not
    w.z[suppress[s]] = -__builtin_inff();
  }
  const float top = block_maxima(w.z, n, w.maxima);
  if (top == -__builtin_inff() || top == __builtin_inff()) return {-1, 0};
  int64_t id = 0;
  double total = 0;
  if (greedy) {
    while (w.maxima[id / kBlock] != top) id += kBlock;
    while (w.z[id] != top) id++;
    if (wants_logp && !suppressed) total = weights(w.z, n, top, w.p, w.sums);
  } else {
    total = weights(w.z, n, top, w.p, w.sums);
    const float u = philox_uniform(philox(c.seed, stream, step, 0).word[0]);
    const bool cut_k = c.top_k > 0 && c.top_k < n, cut_p = c.top_p < 1;
    if (cut_k || cut_p) {
      const double share = static_cast<double>(c.top_p);
      int64_t m;
      if (cut_k) {
        m = top_k(w, n, c.top_k);
        if (cut_p) m = top_p(w, m, share * sum_of(w.p, m));
      } else {
        // The first of top_p's rounds, by blocks. What is lowered below outweighs the rounding of z - top and of exp.
        const double mass = sum_of(w.p, n);
        const double bound =
            static_cast<double>(top) + __builtin_log(0.999 * (1 - share) * mass / static_cast<double>(n));
        m = gather(w, n, static_cast<float>(bound - 1e-6 * (bound < 0 ? -bound : bound)));
        m = top_p(w, m, share * mass);
      }
      id = draw_candidate(w, m, u);
    } else {
      id = draw(w, n, total, u);
    }
  }
  if (!wants_logp) return {id, 0};
  // Of all ids, suppressed or not.
  float largest = top;
  if (suppressed) {
    scale(logits, n, inverse, w.z);
    largest = block_maxima(w.z, n, w.maxima);
    total = weights(w.z, n, largest, w.p, w.sums);
  }
  float chosen;
  scale(logits + id, 1, inverse, &chosen);
  return {id, static_cast<float>(static_cast<double>(chosen) - static_cast<double>(largest) - __builtin_log(total))};
}

}  // namespace

void sample(Device &device, View ids, View logp, View logits, View streams, View steps, View suppress, View allow,
            const rl_sample_config &c) {
  const int64_t rows = logits.rows(), n = logits.cols();
  if (suppress) check_indices("suppress", suppress, n);
  const int64_t wide = blocks_of(n, 64) * 64;
  const int threads = rows < cpu(device).threads() ? static_cast<int>(rows) : cpu(device).threads();
  float *floats = cpu(device).scratch<float>(threads * wide * 4);
  int32_t *candidates = cpu(device).scratch<int32_t>(threads * wide);
  double *bins = cpu(device).scratch<double>(threads * kBins);
  Pick *picks = cpu(device).scratch<Pick>(rows);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (rows > 1 && rows * n > 8192)
  for (int64_t b = 0; b < rows; b++) {
    const int64_t thread = omp_get_thread_num();
    float *own = floats + thread * wide * 4;
    const Workspace w{
        own, own + wide, candidates + thread * wide, own + 2 * wide, own + 3 * wide, bins + thread * kBins};
    const bool cut_off = suppress && allow.i32()[b] == 0;
    picks[b] =
        sample_row(w, logits.row<float>(b), n, c, cut_off ? suppress.i32() : nullptr, cut_off ? suppress.elements() : 0,
                   static_cast<uint64_t>(static_cast<uint32_t>(streams.i32()[b])),
                   static_cast<uint32_t>(steps.i32()[b]), static_cast<bool>(logp));
  }
  // Only now: a call that fails leaves its outputs as they were.
  for (int64_t b = 0; b < rows; b++) {
    if (picks[b].id < 0) {
      fail(RL_INVALID_ARGUMENT,
           "logits: row %lld holds NaN, infinity (once divided by the temperature), or nothing to choose from",
           static_cast<long long>(b));
    }
  }
  for (int64_t b = 0; b < rows; b++) {
    ids.i32()[b] = static_cast<int32_t>(picks[b].id);
    if (logp) logp.f32()[b] = picks[b].logp;
  }
}

}  // namespace rl::cpu::RL_ISA
