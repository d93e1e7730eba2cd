// ids[b] ~ softmax(logits[b] / temperature) after top-k and top-p: the CPU's rules, and its random numbers (dispatch/philox.h).
// A block for each row. Weights are exp(z - max z) as 64-bit fixed point, whose sums depend on no order: what threads add up by
// atomics in shared memory is the same every time. Cuts need no sort: digits of 8 bits of a key that orders as floats do are
// counted (or weighed) from the top, four rounds leave the key of the last that stays. A draw, and the last of equals at the cut,
// is a search in running sums: by warp, by thread, by element.
// Traffic: a row is read once for greedy, and once more for a log-probability; for a draw twice (the largest; the sum) and a part of
// it (the search); 4 times more for top-k, 5 for top-p, once more for a log-probability of a draw that was cut. All but the first
// come from the L2 cache (V = 128k: 512 KiB a row). The minimum is one reading; written are 8 bytes a row.
#include "cuda/op.h"
#if defined(RL_KERNELS)
#include "dispatch/philox.h"
#else
#include "cuda/indices.h"
#endif

namespace rl::cuda {

constexpr int kMostThreads = 512, kThreads = 128;

struct Pick {
  int32_t id;  // -1: the row holds NaN, infinity, or nothing above -infinity
  float logp;
};

#if defined(RL_KERNELS)

constexpr int kVector = 4, kBins = 256, kMostWarps = kMostThreads / 32;
constexpr uint32_t kInfinityKey = 0xff800000u;

/// Orders floats as unsigned integers; NaN is above all.
DEVICE uint32_t key_of(float x) {
  const uint32_t bits = __float_as_uint(x);
  return x != x ? 0xffffffffu : bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
DEVICE float value_of(uint32_t key) { return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

/// A row of logits in vectors of four, of which the first and the last may lie partly outside: so they are aligned wherever the
/// row begins.
struct Row {
  const float *logits;
  int64_t n;
  float inverse;            // of the temperature
  const uint32_t *blocked;  // a bit for each id, or null

  DEVICE_MEMBER int lead() const {
    return static_cast<int>(reinterpret_cast<uintptr_t>(logits) / sizeof(float) % kVector);
  }
  DEVICE_MEMBER int64_t vectors() const { return (lead() + n + kVector - 1) / kVector; }
  /// Adding zero makes 0 of -0, so that equals have equal keys.
  DEVICE_MEMBER float scaled(float logit) const { return logit * inverse + 0.0f; }
  DEVICE_MEMBER bool is_blocked(int64_t id) const { return blocked && blocked[id / 32] >> (id % 32) & 1u; }

  /// use(id, z) for the vectors first, first + step, ... ahead of last; z also of what is blocked. Two are loaded before
  /// the first is used, where both lie inside the row.
  template <class Use>
  DEVICE_MEMBER void each(int64_t first, int64_t last, int64_t step, Use &&use) const {
    constexpr int kAtOnce = 2;
    auto use_vector = [&](int64_t id, const float4 &x) {
      use(id, scaled(x.x));
      use(id + 1, scaled(x.y));
      use(id + 2, scaled(x.z));
      use(id + 3, scaled(x.w));
    };
    const float *zero = logits - lead();  // where vector 0 begins
    for (int64_t v = first; v < last;) {
      const int64_t id = v * kVector - lead(), far = v + (kAtOnce - 1) * step;
      if (id >= 0 && far < last && far * kVector - lead() + kVector <= n) {
        float4 x[kAtOnce];
#pragma unroll
        for (int i = 0; i < kAtOnce; i++) x[i] = load_vector(reinterpret_cast<const float4 *>(zero) + v + i * step);
#pragma unroll
        for (int i = 0; i < kAtOnce; i++) use_vector(id + i * step * kVector, x[i]);
        v += kAtOnce * step;
        continue;
      }
      for (int64_t i = id < 0 ? 0 : id; i < id + kVector && i < n; i++) use(i, scaled(logits[i]));
      v += step;
    }
  }
  /// Each warp has a range of vectors of its own, one after the other.
  DEVICE_MEMBER int64_t range_size() const {
    const int64_t warps = blockDim.x / 32;
    return (vectors() + warps - 1) / warps;
  }
  /// use(id, z) for everything, by the whole block; z = -infinity for what is blocked.
  template <class Use>
  DEVICE_MEMBER void each_allowed(Use &&use) const {
    const int64_t size = range_size(), begin = warp() * size;
    each(begin + lane(), smaller(begin + size, vectors()), 32,
         [&](int64_t id, float z) { use(id, is_blocked(id) ? -INFINITY : z); });
  }
};

/// Largest over the block; every thread gets it.
DEVICE uint64_t block_max(uint64_t x) {
  SHARED(uint64_t, parts, [kMostWarps]);
  for (int step = 16; step > 0; step /= 2) {
    const uint64_t other = __shfl_xor_sync(kFullWarp, x, step);
    x = other > x ? other : x;
  }
  __syncthreads();
  if (lane() == 0) parts[warp()] = x;
  __syncthreads();
  for (int i = 0; i < static_cast<int>(blockDim.x) / 32; i++) x = parts[i] > x ? parts[i] : x;
  return x;
}

/// The sum of x over the lanes up to this one.
DEVICE uint64_t warp_running_sum(uint64_t x) {
  for (int step = 1; step < 32; step *= 2) {
    const uint64_t other = __shfl_up_sync(kFullWarp, x, step);
    if (lane() >= step) x += other;
  }
  return x;
}

/// exp(z - top) in units of 1 / unit, which is so large that the sum of a row fits 62 bits.
struct Weighing {
  float top, unit;
  DEVICE_MEMBER uint64_t operator()(float z) const { return static_cast<uint64_t>(expf(z - top) * unit); }
};

/// The largest key K such that the weight of all with key >= K is at least `wanted`.
struct Cut {
  uint32_t key;
  uint64_t above;  // the weight of those with key > K
  uint64_t at;     // of those with key = K
};

/// walk(visit) calls visit(z, weight) for everything that counts, weight() being its weight; all of it is at least `wanted`.
template <class Walk>
DEVICE Cut find_cut(uint64_t wanted, Walk &&walk) {
  SHARED(uint32_t, low, [kBins]);  // halves of 64 bits: shared memory adds 32 at a time
  SHARED(uint32_t, high, [kBins]);
  SHARED(uint64_t, found, [3]);
  Cut cut = {0, 0, 0};
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int i = threadIdx.x; i < kBins; i += blockDim.x) low[i] = high[i] = 0;
    __syncthreads();
    walk([&](float z, auto &&weight) {
      const uint32_t key = key_of(z), digit = key >> shift & (kBins - 1);
      if (shift < 24 && key >> (shift + 8) != cut.key >> (shift + 8)) return;
      const uint64_t w = weight();
      const uint32_t w0 = static_cast<uint32_t>(w), before = atomicAdd(&low[digit], w0);
      const uint32_t w1 = static_cast<uint32_t>(w >> 32) + (before + w0 < before ? 1u : 0u);
      if (w1) atomicAdd(&high[digit], w1);
    });
    __syncthreads();
    if (warp() == 0) {  // lane l has eight bins, those of lane 0 are the highest
      auto bin = [&](int i) { return static_cast<uint64_t>(high[i]) << 32 | low[i]; };
      const int highest = kBins - 1 - lane() * (kBins / 32);
      uint64_t own = 0;
      for (int i = 0; i < kBins / 32; i++) own += bin(highest - i);
      uint64_t above = cut.above + warp_running_sum(own) - own;
      if (above < wanted && above + own >= wanted) {
        int i = highest;
        while (above + bin(i) < wanted) above += bin(i--);
        found[0] = cut.key | static_cast<uint32_t>(i) << shift;
        found[1] = above;
        found[2] = bin(i);
      }
    }
    __syncthreads();
    cut = {static_cast<uint32_t>(found[0]), found[1], found[2]};
  }
  return cut;
}

/// Weights of a row in the order of the ids: their sum, and whose share a number falls into.
template <class Weight>
struct Line {
  const Row &row;
  Weight weight;  // of (id, z)
  uint64_t *ranges;

  /// The whole sum; every thread gets it.
  DEVICE_MEMBER uint64_t sum() const {
    uint64_t own = 0;
    row.each_allowed([&](int64_t id, float z) { own += weight(id, z); });
    for (int step = 16; step > 0; step /= 2) own += __shfl_xor_sync(kFullWarp, own, step);
    __syncthreads();  // ranges may be in use
    if (lane() == 0) ranges[warp()] = own;
    __syncthreads();
    uint64_t total = 0;
    for (int i = 0; i < static_cast<int>(blockDim.x) / 32; i++) total += ranges[i];
    return total;
  }
  /// After sum(): the first id with which the running sum exceeds `target`, which is less than the whole sum.
  DEVICE_MEMBER int64_t find(uint64_t target) const {
    SHARED(uint64_t, parts, [kMostWarps]);
    SHARED(int32_t, found, [1]);
    int range = 0;
    while (target >= ranges[range]) target -= ranges[range++];
    // The whole block looks into that range, each thread at some vectors that follow each other.
    const int64_t size = row.range_size(), end = smaller((range + 1) * size, row.vectors());
    const int64_t each = (size + blockDim.x - 1) / blockDim.x, begin = range * size + threadIdx.x * each;
    const int64_t stop = smaller(begin + each, end);
    auto walk = [&](auto &&use) {
      row.each(begin, stop, 1, [&](int64_t id, float z) { use(id, weight(id, row.is_blocked(id) ? -INFINITY : z)); });
    };
    uint64_t own = 0;
    walk([&](int64_t, uint64_t w) { own += w; });
    uint64_t before = warp_running_sum(own);
    __syncthreads();  // parts and found may be in use
    if (lane() == 31) parts[warp()] = before;
    __syncthreads();
    before -= own;
    for (int i = 0; i < warp(); i++) before += parts[i];
    if (before <= target && target < before + own) {
      bool open = true;
      walk([&](int64_t id, uint64_t w) {
        before += w;
        if (open && before > target) {
          found[0] = static_cast<int32_t>(id);
          open = false;
        }
      });
    }
    __syncthreads();
    return found[0];
  }
};
template <class Weight>
DEVICE Line<Weight> line(const Row &row, uint64_t *ranges, Weight weight) {
  return {row, weight, ranges};
}

/// What top-k and top-p leave: all with a larger key, and of those with this key the ids up to `last`.
struct Kept {
  uint32_t key;
  int64_t last;
  DEVICE_MEMBER bool operator()(int64_t id, float z) const {
    const uint32_t k = key_of(z);
    return k > key || (k == key && id <= last);
  }
};

/// `best` is the largest z among this thread's elements.
DEVICE Kept cut_row(const Row &row, const rl_sample_config &c, float best, const Weighing &weigh, uint64_t *ranges) {
  Kept kept = {0, row.n};
  const auto one = [] { return uint64_t{1}; };
  if (c.top_k > 0 && c.top_k < row.n) {
    const uint64_t k = static_cast<uint64_t>(c.top_k);
    // Of k threads' largest none is below the k-th largest of these, so neither is the k-th largest of all.
    const float bound =
        k <= blockDim.x ? value_of(find_cut(k, [&](auto &&visit) { visit(best, one); }).key) : -INFINITY;
    kept.key = find_cut(k, [&](auto &&visit) {
                 row.each_allowed([&](int64_t, float z) {
                   if (z >= bound) visit(z, one);
                 });
               }).key;
  }
  if (c.top_p < 1) {
    const uint32_t lowest = kept.key;
    const auto weight = [&](int64_t, float z) { return key_of(z) >= lowest ? weigh(z) : uint64_t{0}; };
    const uint64_t mass = line(row, ranges, weight).sum();
    const double share = ceil(static_cast<double>(c.top_p) * static_cast<double>(mass));
    const uint64_t least = share < 1 ? 1 : static_cast<uint64_t>(share), wanted = least < mass ? least : mass;
    // All that weigh no more than `spare` have together no more than can be spared, and so are not needed. The bound is their z,
    // lowered by more than the rounding of exp and log.
    const float spare = static_cast<float>(mass - wanted) / static_cast<float>(row.n) / weigh.unit;
    const float lowest_z = spare > 0 ? weigh.top + logf(spare) : -INFINITY;
    const float bound = lowest_z - 0.001f - 1e-6f * fabsf(lowest_z);
    const Cut cut = find_cut(wanted, [&](auto &&visit) {
      row.each_allowed([&](int64_t id, float z) {
        if (z >= bound) visit(z, [&] { return weight(id, z); });
      });
    });
    kept.key = cut.key;
    // Equals weigh the same: of these as few as are needed.
    const uint64_t w = weigh(value_of(cut.key)), needed = (wanted - cut.above + w - 1) / w;
    if (needed * w < cut.at) {
      const auto equals = line(row, ranges, [&](int64_t, float z) { return uint64_t{key_of(z) == cut.key}; });
      equals.sum();
      kept.last = equals.find(needed - 1);
    }
  }
  return kept;
}

/// A bit for each of n ids: whether it is among the suppressed.
KERNEL(suppressed_bits, kThreads, uint32_t *bits, int64_t n, View suppress) {
  const int64_t word = thread_of_grid();
  if (word >= (n + 31) / 32) return;
  uint32_t set = 0;
  for (int64_t i = 0; i < suppress.elements(); i++) {
    const int64_t id = suppress.i32()[i];
    if (id >= word * 32 && id < word * 32 + 32) set |= 1u << (id % 32);
  }
  bits[word] = set;
}

KERNEL(sample, kMostThreads, Pick *picks, Guard guard, View logits, View streams, View steps,
       const uint32_t *suppressed, View allow, rl_sample_config c, float unit, int32_t wants_logp) {
  SHARED(uint64_t, ranges, [kMostWarps]);
  const int64_t b = blockIdx.x;
  const bool greedy = c.temperature == 0, cut_off = suppressed && allow.i32()[b] == 0;
  const Row row = {logits.row<float>(b), logits.cols(), greedy ? 1.0f : 1.0f / c.temperature,
                   cut_off ? suppressed : nullptr};
  // The largest, the lowest id among equals first.
  uint64_t best = 0;
  uint32_t largest_key = 0;
  const int64_t size = row.range_size(), begin = warp() * size;
  row.each(begin + lane(), smaller(begin + size, row.vectors()), 32, [&](int64_t id, float z) {
    const uint32_t key = key_of(z), allowed = row.is_blocked(id) ? key_of(-INFINITY) : key;
    const uint64_t candidate = static_cast<uint64_t>(allowed) << 32 | ~static_cast<uint32_t>(id);
    best = candidate > best ? candidate : best;
    largest_key = key > largest_key ? key : largest_key;
  });
  const float own = best ? value_of(static_cast<uint32_t>(best >> 32)) : -INFINITY;
  best = block_max(best);
  largest_key = cut_off ? static_cast<uint32_t>(block_max(largest_key)) : static_cast<uint32_t>(best >> 32);
  const float top = value_of(static_cast<uint32_t>(best >> 32));
  if (largest_key >= kInfinityKey || top == -INFINITY) {  // the whole block
    if (threadIdx.x == 0) {
      note(guard, kNoChoice, b, 0, 0);
      picks[b] = {-1, 0};
    }
    return;
  }
  const Weighing weigh = {top, unit};
  const auto all = line(row, ranges, [&](int64_t, float z) { return weigh(z); });
  int64_t id = ~static_cast<uint32_t>(best);
  uint64_t total = 0;
  if (!greedy) {
    const uint64_t u = philox(c.seed, static_cast<uint64_t>(static_cast<uint32_t>(streams.i32()[b])),
                              static_cast<uint32_t>(steps.i32()[b]), 0)
                           .word[0] >>
                       8;  // philox_uniform's 24 bits
    const auto share = [u](uint64_t sum) { return (sum >> 24) * u + ((sum & 0xffffffu) * u >> 24); };
    if ((c.top_k > 0 && c.top_k < row.n) || c.top_p < 1) {
      const Kept kept = cut_row(row, c, own, weigh, ranges);
      const auto rest = line(row, ranges, [&](int64_t i, float z) { return kept(i, z) ? weigh(z) : uint64_t{0}; });
      id = rest.find(share(rest.sum()));
    } else {
      total = all.sum();
      id = all.find(share(total));
    }
  }
  float logp = 0;
  if (wants_logp) {  // of all ids, suppressed or not
    const float largest = value_of(largest_key);
    const Row uncut = {row.logits, row.n, row.inverse, nullptr};
    const Weighing from_largest = {largest, unit};
    if (cut_off || total == 0) {
      total = line(uncut, ranges, [&](int64_t, float z) { return from_largest(z); }).sum();
    }
    const double z = static_cast<double>(row.scaled(row.logits[id]));
    logp = static_cast<float>(z - static_cast<double>(largest) -
                              log(static_cast<double>(total) / static_cast<double>(unit)));
  }
  if (threadIdx.x == 0) picks[b] = {static_cast<int32_t>(id), logp};
}

/// Only now: a call that fails leaves its outputs as they were.
KERNEL(take_picks, kThreads, View ids, View logp, const Pick *picks) {
  const int64_t b = thread_of_grid();
  if (b >= ids.elements() || picks[b].id < 0) return;
  ids.i32()[b] = picks[b].id;
  if (logp) logp.f32()[b] = picks[b].logp;
}

#else

void sample(Device &device, View ids, View logp, View logits, View streams, View steps, View suppress, View allow,
            const rl_sample_config &c) {
  CudaDevice &d = gpu(device);
  const int64_t rows = logits.rows(), n = logits.cols();
  Pick *picks = d.scratch<Pick>(rows);
  uint32_t *bits = nullptr;
  if (suppress) {
    check_indices(d, "sample", "suppress", suppress, n);
    bits = d.scratch<uint32_t>(ceil_div(n, 32));
    d.launch("suppressed_bits", by_element(ceil_div(n, 32), kThreads), bits, n, suppress);
  }
  float unit = 0x1p62f;
  for (int64_t room = 1; room < n; room *= 2) unit /= 2;
  const int threads = static_cast<int>(smaller(ceil_div(n, 16 * 32) * 32, kMostThreads));  // 16 logits and more each
  d.launch("sample", by_row(rows, threads), picks, d.guard("sample", "logits"), logits, streams, steps,
           static_cast<const uint32_t *>(bits), allow, c, unit, static_cast<int32_t>(static_cast<bool>(logp)));
  d.launch("take_picks", by_element(rows, kThreads), ids, logp, static_cast<const Pick *>(picks));
}

#endif

}  // namespace rl::cuda
