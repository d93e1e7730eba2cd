// Causal attention over packed sequences, streamed by blocks of keys (Dao et al. 2022, 2023). Per query head, with
// s = scale q k^T masked to j <= i (and j > i - window):
//   forward   p = softmax(s), o = p v, lse = logsumexp(s).   o, lse (=)
//   backward  p = exp(s - lse), delta = sum(gradO * o), ds = p * (gradO v^T - delta),
//             gradV = p^T gradO, gradK = scale ds^T q, gradQ = scale ds k.  All (=); gradK, gradV sum over a group.
//
// Queries lie across the lanes of vectors, keys along the other dimension: S^T = K Q^T, O^T = V^T P^T. So the softmax
// runs vertically, with no sum across a vector, and K and V are read as they are stored. The heads of a group sit side
// by side (lane = query * group + head): they share the sweep over K and V, and a strip of lanes spans few queries, so
// that little is computed above the diagonal. q is scaled by scale * log2(e) when it is loaded, and the softmax works
// in powers of 2.
#include <omp.h>

#include "cpu/kernels/f16.h"
#include "cpu/kernels/indices.h"
#include "cpu/kernels/tile.h"

namespace rl::cpu::RL_ISA {
namespace {

constexpr int64_t kStrip = kTileVectors * kWidth;  // lanes that are worked on at a time
constexpr int64_t kKeys = 64;                      // keys of a block
constexpr int64_t kLanes = 192;                    // forward: lanes of a work item, which share the loading of K and V
constexpr int64_t kChunk = 256;                    // backward: keys of a work item
constexpr int64_t kMostChunks = 8;   // ... unless a sequence would have more such; bounds the scratch memory
constexpr int64_t kAhead = 8;        // rows that are prefetched before their turn
constexpr float kMasked = -2e30f;    // 2^(kMasked - x) is 0 for any x that can be a maximum, and so for
constexpr float kNoKeyYet = -1e30f;  // this, the maximum of no keys
constexpr float kLog2e = 1.44269504088896341f, kLn2 = 0.693147180559945309f;

struct Problem {
  View q, k, v, o, lse, gradO, gradQ, gradK, gradV;
  const int32_t *cu;
  int64_t heads, kvHeads, group, d;
  int64_t dp;  // d, rounded up to whole vectors: the row length of everything in scratch, zeros beyond d
  float scale;
  int64_t window;  // 0: none
};

/// Forward: queries [from, to) of a sequence; backward: keys [from, to).
struct Work {
  int64_t start, length;  // of the sequence
  int64_t from, to;
  int64_t kvHead;
  int64_t cost;  // about proportional
  float *partQ;  // backward: gradQ of this chunk, [length - from, group * d], if the sequence has several
};

RL_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
RL_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
RL_INLINE int64_t up_to_multiple(int64_t x, int64_t of) { return (x + of - 1) / of * of; }

template <class T>
RL_INLINE void load_row(float *out, const T *in, int64_t ahead, int64_t d, int64_t dp, float factor) {
  // Rows of fused q, k, v lie far apart, and a slice of one is too short for the hardware to see a pattern.
  for (int64_t c = 0; c < d; c += 64 / static_cast<int64_t>(sizeof(T))) __builtin_prefetch(in + ahead + c);
  scale_row(out, in, d, factor);
  for (int64_t c = d; c < dp; c++) out[c] = 0;
}

/// Rows [from, to) of one key head, and zeros up to a multiple of four rows.
template <class T>
void load_keys(float *out, const Problem &p, const View &x, const Work &w, int64_t from, int64_t to) {
  for (int64_t j = from; j < to; j++) {
    const T *in = x.row<T>(w.start + j) + w.kvHead * p.d;
    load_row(out + (j - from) * p.dp, in, kAhead * x.row_stride(), p.d, p.dp, 1.0f);
  }
  const int64_t n = to - from, padded = up_to_multiple(n, 4);
  __builtin_memset(out + n * p.dp, 0, static_cast<size_t>((padded - n) * p.dp) * sizeof(float));
}

/// A strip of lanes: lane l is query `(lane0 + l) / group`, head `(lane0 + l) % group` of the group.
struct Strip {
  int64_t lane0, count;    // count <= kStrip; lanes beyond repeat the last and are thrown away
  int64_t first, last;     // queries
  int32_t newest[kStrip];  // the last key that a lane sees
  int32_t before[kStrip];  // the key before the first that it sees
};

RL_INLINE void make_strip(Strip &s, const Problem &p, int64_t lane0, int64_t end) {
  s.lane0 = lane0;
  s.count = least(kStrip, end - lane0);
  s.first = lane0 / p.group;
  s.last = (lane0 + s.count - 1) / p.group;
  int64_t i = s.first, g = lane0 % p.group;
  for (int64_t l = 0; l < kStrip; l++) {
    s.newest[l] = static_cast<int32_t>(i);
    s.before[l] = static_cast<int32_t>(p.window > 0 ? i - p.window : -1);
    if (l + 1 < s.count && ++g == p.group) {
      g = 0;
      i++;
    }
  }
}

/// out[lane,:] = x of the strip's lanes, times factor; zeros beyond count.
template <class T>
void load_lanes(float *out, const Problem &p, const View &x, const Work &w, const Strip &s, float factor) {
  int64_t i = s.first, g = s.lane0 % p.group;
  for (int64_t l = 0; l < s.count; l++) {
    const T *in = x.row<T>(w.start + i) + (w.kvHead * p.group + g) * p.d;
    load_row(out + l * p.dp, in, kAhead * x.row_stride(), p.d, p.dp, factor);
    if (++g == p.group) {
      g = 0;
      i++;
    }
  }
  __builtin_memset(out + s.count * p.dp, 0, static_cast<size_t>((kStrip - s.count) * p.dp) * sizeof(float));
}

/// The keys of block [j0, j0 + n) that some lane sees: [from, to), relative to j0; empty if to <= from. `from` is
/// brought down to a multiple of four, so that rows counted in fours stay within the block.
struct Range {
  int64_t from, to;
};
RL_INLINE Range visible(const Problem &p, const Strip &s, int64_t j0, int64_t n) {
  const int64_t oldest = p.window > 0 ? s.first - p.window + 1 - j0 : 0;
  return {most(0, oldest) / 4 * 4, least(n, s.last + 1 - j0)};
}
/// Whether every lane sees key j.
RL_INLINE bool all_see(const Problem &p, const Strip &s, int64_t j) {
  return j <= s.first && (p.window == 0 || j > s.last - p.window);
}
/// x where the lanes of vector v see key j, else otherwise.
RL_INLINE vecf where_seen(const Strip &s, int v, int64_t j, vecf x, float otherwise) {
  const veci key = static_cast<int32_t>(j) - veci{};
  const veci seen = (load(s.newest + v * kWidth) >= key) & (load(s.before + v * kWidth) < key);
  return seen ? x : broadcast(otherwise);
}

/// The expensive ones first, so that no thread is left with one at the end.
void sort_by_cost(Work *work, int64_t count) {
  for (int64_t gap = count / 2; gap > 0; gap /= 2) {  // Shell's
    for (int64_t i = gap; i < count; i++) {
      const Work moved = work[i];
      int64_t j = i;
      for (; j >= gap && work[j - gap].cost < moved.cost; j -= gap) work[j] = work[j - gap];
      work[j] = moved;
    }
  }
}

/// Pairs of a query in [from, to) and a key that it sees.
RL_INLINE int64_t pairs(int64_t from, int64_t to, int64_t window) {
  int64_t sum = 0;
  for (int64_t i = from; i < to; i++) sum += window > 0 && i + 1 > window ? window : i + 1;
  return sum;
}

Problem make_problem(const View &q, const View &k, const View &v, const View &cuSeqlens, float scale, int32_t window) {
  Problem p{};
  p.q = q;
  p.k = k;
  p.v = v;
  p.cu = cuSeqlens.i32();
  p.heads = q.shape[1];
  p.kvHeads = k.shape[1];
  p.group = p.heads / p.kvHeads;
  p.d = q.shape[2];
  p.dp = up_to_multiple(p.d, kWidth);
  p.scale = scale;
  p.window = window;
  return p;
}

// ---- forward ------------------------------------------------------------------------------------------------------

struct ForwardScratch {
  float *k, *v;      // [kKeys, dp]
  float *qt, *ot;    // strips of [dp, kStrip]
  float *top, *sum;  // per lane
  float *s;          // [kKeys, kStrip]
  float *lanes;      // [kStrip, dp]
};

/// One strip against the keys [j0, j0 + n): the step of the streaming softmax.
void forward_step(const Problem &p, const ForwardScratch &m, const Strip &strip, float *qt, float *ot,
                  float *top_of_lane, float *sum_of_lane, int64_t j0, int64_t n, bool begin) {
  const Range range = visible(p, strip, j0, n);
  if (range.to <= range.from) return;
  float *s = m.s;
  const int64_t rows = range.to - range.from;
  tile_product<false, false>(s, kStrip, m.k + range.from * p.dp, p.dp, qt, kStrip, up_to_multiple(rows, 4), kStrip,
                             p.d);

  vecf top[kTileVectors], shrink[kTileVectors], sum[kTileVectors];
  for (int v = 0; v < kTileVectors; v++) top[v] = load(top_of_lane + v * kWidth);
  for (int64_t r = 0; r < rows; r++) {
    float *row = s + r * kStrip;
    const int64_t j = j0 + range.from + r;
    if (!all_see(p, strip, j)) {
      for (int v = 0; v < kTileVectors; v++) {
        store(row + v * kWidth, where_seen(strip, v, j, load(row + v * kWidth), kMasked));
      }
    }
    for (int v = 0; v < kTileVectors; v++) top[v] = greater(load(row + v * kWidth), top[v]);
  }
  for (int v = 0; v < kTileVectors; v++) {
    shrink[v] = exp2_vec(load(top_of_lane + v * kWidth) - top[v]);
    sum[v] = load(sum_of_lane + v * kWidth) * shrink[v];
    store(top_of_lane + v * kWidth, top[v]);
  }
  for (int64_t r = 0; r < rows; r++) {
    float *row = s + r * kStrip;
    for (int v = 0; v < kTileVectors; v++) {
      const vecf e = exp2_vec(load(row + v * kWidth) - top[v]);
      store(row + v * kWidth, e);
      sum[v] += e;
    }
  }
  for (int v = 0; v < kTileVectors; v++) store(sum_of_lane + v * kWidth, sum[v]);

  const float *values = m.v + range.from * p.dp;
  if (begin) {
    tile_product<true, false>(ot, kStrip, values, p.dp, s, kStrip, p.dp, kStrip, rows);
    return;
  }
  for (int64_t c = 0; c < p.dp; c++) {
    for (int v = 0; v < kTileVectors; v++) {
      float *at = ot + c * kStrip + v * kWidth;
      store(at, load(at) * shrink[v]);
    }
  }
  tile_product<true, true>(ot, kStrip, values, p.dp, s, kStrip, p.dp, kStrip, rows);
}

template <class T>
void forward(const Problem &p, const Work &w, const ForwardScratch &m) {
  const int64_t lane0 = w.from * p.group, lanes = w.to * p.group, tile = p.dp * kStrip;
  Strip strip;
  for (int64_t at = lane0, i = 0; at < lanes; at += kStrip, i++) {
    make_strip(strip, p, at, lanes);
    load_lanes<T>(m.lanes, p, p.q, w, strip, p.scale * kLog2e);
    transpose(m.qt + i * tile, kStrip, m.lanes, p.dp, kStrip, p.dp);
    for (int64_t l = 0; l < kStrip; l++) {
      m.top[i * kStrip + l] = kNoKeyYet;
      m.sum[i * kStrip + l] = 0;
    }
  }
  const int64_t oldest = p.window > 0 ? most(0, w.from - p.window + 1) : 0;
  for (int64_t j0 = oldest; j0 < w.to; j0 += kKeys) {
    const int64_t n = least(kKeys, w.to - j0);
    load_keys<T>(m.k, p, p.k, w, j0, j0 + n);
    load_keys<T>(m.v, p, p.v, w, j0, j0 + n);
    for (int64_t at = lane0, i = 0; at < lanes; at += kStrip, i++) {
      make_strip(strip, p, at, lanes);
      const bool begin = j0 <= (p.window > 0 ? most(0, strip.first - p.window + 1) : 0);
      forward_step(p, m, strip, m.qt + i * tile, m.ot + i * tile, m.top + i * kStrip, m.sum + i * kStrip, j0, n, begin);
    }
  }
  for (int64_t at = lane0, i = 0; at < lanes; at += kStrip, i++) {
    make_strip(strip, p, at, lanes);
    transpose(m.lanes, p.dp, m.ot + i * tile, kStrip, p.dp, kStrip);
    for (int64_t l = 0; l < strip.count; l++) {
      const int64_t query = w.start + strip.newest[l], head = w.kvHead * p.group + (at + l) % p.group;
      const float sum = m.sum[i * kStrip + l], inverse = 1.0f / sum;
      scale_row(p.o.row<T>(query) + head * p.d, m.lanes + l * p.dp, p.d, inverse);
      p.lse.f32()[head * p.q.rows() + query] = m.top[i * kStrip + l] * kLn2 + __builtin_logf(sum);
    }
  }
}

// ---- backward -----------------------------------------------------------------------------------------------------

struct BackwardScratch {
  float *k, *v, *gradK, *gradV;    // [keys of a chunk, dp]
  float *q, *qt, *go, *got, *gqt;  // [kStrip, dp], those ending in t transposed
  float *delta, *lse;              // [kStrip]; lse in powers of 2
  float *pt, *dst;                 // [kKeys, kStrip]
};

/// One strip against the keys [j0, j0 + n) of the chunk, of which `at` is the first row in scratch.
void backward_step(const Problem &p, const BackwardScratch &m, const Strip &strip, int64_t j0, int64_t n, int64_t at) {
  const Range range = visible(p, strip, j0, n);
  if (range.to <= range.from) return;
  const int64_t rows = range.to - range.from, padded = up_to_multiple(rows, 4), offset = (at + range.from) * p.dp;
  const float *keys = m.k + offset, *values = m.v + offset;
  tile_product<false, false>(m.pt, kStrip, keys, p.dp, m.qt, kStrip, padded, kStrip, p.d);
  tile_product<false, false>(m.dst, kStrip, values, p.dp, m.got, kStrip, padded, kStrip, p.d);
  for (int v = 0; v < kTileVectors; v++) {
    const vecf lse = load(m.lse + v * kWidth), delta = load(m.delta + v * kWidth);
    for (int64_t r = 0; r < rows; r++) {
      float *prob = m.pt + r * kStrip + v * kWidth, *ds = m.dst + r * kStrip + v * kWidth;
      const int64_t j = j0 + range.from + r;
      vecf e = exp2_vec(load(prob) - lse), g = load(ds) - delta;
      if (!all_see(p, strip, j)) {
        e = where_seen(strip, v, j, e, 0.0f);
        g = where_seen(strip, v, j, g, 0.0f);
      }
      store(prob, e);
      store(ds, e * g);
    }
    for (int64_t r = rows; r < padded; r++) {
      store(m.pt + r * kStrip + v * kWidth, vecf{});
      store(m.dst + r * kStrip + v * kWidth, vecf{});
    }
  }
  // Lanes before the one that first sees a run of keys add nothing to their gradients.
  for (int64_t r = 0; r < padded; r += kTileRows) {
    const int64_t run = least(kTileRows, padded - r), from = most(0, (j0 + range.from + r) * p.group - strip.lane0);
    const float *probs = m.pt + r * kStrip + from, *ds = m.dst + r * kStrip + from;
    const int64_t to = offset + r * p.dp, seen = strip.count - from;
    tile_product<false, true>(m.gradV + to, p.dp, probs, kStrip, m.go + from * p.dp, p.dp, run, p.dp, seen);
    tile_product<false, true>(m.gradK + to, p.dp, ds, kStrip, m.q + from * p.dp, p.dp, run, p.dp, seen);
  }
  tile_product<true, true>(m.gqt, kStrip, keys, p.dp, m.dst, kStrip, p.dp, kStrip, rows);
}

template <class T>
void backward(const Problem &p, const Work &w, const BackwardScratch &m) {
  const int64_t chunk = w.to - w.from, padded = up_to_multiple(chunk, 4);
  load_keys<T>(m.k, p, p.k, w, w.from, w.to);
  load_keys<T>(m.v, p, p.v, w, w.from, w.to);
  __builtin_memset(m.gradK, 0, static_cast<size_t>(padded * p.dp) * sizeof(float));
  __builtin_memset(m.gradV, 0, static_cast<size_t>(padded * p.dp) * sizeof(float));
  const int64_t end = p.window > 0 ? least(w.length, w.to - 1 + p.window) : w.length;
  Strip strip;
  for (int64_t lane0 = w.from * p.group; lane0 < end * p.group; lane0 += kStrip) {
    make_strip(strip, p, lane0, end * p.group);
    load_lanes<T>(m.q, p, p.q, w, strip, p.scale * kLog2e);
    load_lanes<T>(m.go, p, p.gradO, w, strip, 1.0f);
    transpose(m.qt, kStrip, m.q, p.dp, kStrip, p.dp);
    transpose(m.got, kStrip, m.go, p.dp, kStrip, p.dp);
    for (int64_t l = 0; l < kStrip; l++) {
      const int64_t query = w.start + strip.newest[l];
      const int64_t head = w.kvHead * p.group + (lane0 + least(l, strip.count - 1)) % p.group;
      const T *o = p.o.row<T>(query) + head * p.d;
      for (int64_t c = 0; c < p.d; c += 64 / static_cast<int64_t>(sizeof(T))) {
        __builtin_prefetch(o + kAhead * p.o.row_stride() + c);
      }
      m.delta[l] = dot_row(m.go + l * p.dp, o, p.d);
      m.lse[l] = p.lse.f32()[head * p.q.rows() + query] * kLog2e;
    }
    __builtin_memset(m.gqt, 0, static_cast<size_t>(p.dp * kStrip) * sizeof(float));
    for (int64_t j0 = w.from; j0 < w.to && j0 <= strip.last; j0 += kKeys) {
      backward_step(p, m, strip, j0, least(kKeys, w.to - j0), j0 - w.from);
    }
    transpose(m.qt, p.dp, m.gqt, kStrip, p.dp, kStrip);  // qt is no longer needed
    for (int64_t l = 0; l < strip.count; l++) {
      const int64_t query = strip.newest[l], g = (lane0 + l) % p.group;
      const float *in = m.qt + l * p.dp;
      if (w.partQ) {
        scale_row(w.partQ + ((query - w.from) * p.group + g) * p.d, in, p.d, 1.0f);
      } else {
        scale_row(p.gradQ.row<T>(w.start + query) + (w.kvHead * p.group + g) * p.d, in, p.d, p.scale);
      }
    }
  }
  for (int64_t j = 0; j < chunk; j++) {
    const int64_t t = w.start + w.from + j;
    scale_row(p.gradK.row<T>(t) + w.kvHead * p.d, m.gradK + j * p.dp, p.d, kLn2);  // q carried scale * log2(e)
    scale_row(p.gradV.row<T>(t) + w.kvHead * p.d, m.gradV + j * p.dp, p.d, 1.0f);
  }
}

RL_INLINE int64_t chunk_of(int64_t length) {
  const int64_t even = up_to_multiple((length + kMostChunks - 1) / kMostChunks, kKeys);
  return most(kChunk, even);
}

/// gradQ[query] of a sequence with several chunks: their parts, added in order.
template <class T>
void add_parts(const Problem &p, float *const *parts, int64_t chunk, int64_t start, int64_t query, int64_t kvHead) {
  const int64_t n = p.group * p.d;
  T *out = p.gradQ.row<T>(start + query) + kvHead * n;
  const int64_t first = p.window > 0 ? most(0, query - p.window + 1) / chunk : 0;
  float *sum = parts[first] + (query - first * chunk) * n;
  for (int64_t i = first + 1; i <= query / chunk; i++) {
    const float *part = parts[i] + (query - i * chunk) * n;
    RL_SIMD
    for (int64_t c = 0; c < n; c++) sum[c] += part[c];
  }
  scale_row(out, sum, n, p.scale);
}

}  // namespace

void attention(Device &device, View o, View lse, View q, View k, View v, View cuSeqlens, float scale, int32_t window) {
  check_cu_seqlens(cuSeqlens, q.rows());
  Problem p = make_problem(q, k, v, cuSeqlens, scale, window);
  p.o = o;
  p.lse = lse;
  const int64_t sequences = cuSeqlens.elements() - 1, step = most(1, kLanes / p.group);
  int64_t count = 0, total = 0;
  for (int64_t b = 0; b < sequences; b++) count += (p.cu[b + 1] - p.cu[b] + step - 1) / step * p.kvHeads;
  Work *work = cpu(device).scratch<Work>(count);
  int64_t n = 0;
  for (int64_t b = 0; b < sequences; b++) {
    const int64_t start = p.cu[b], length = p.cu[b + 1] - start;
    for (int64_t from = 0; from < length; from += step) {
      const int64_t to = least(length, from + step), cost = pairs(from, to, p.window) * p.group * p.d;
      for (int64_t h = 0; h < p.kvHeads; h++) work[n++] = {start, length, from, to, h, cost, nullptr};
      total += cost * p.kvHeads;
    }
  }
  sort_by_cost(work, n);

  const int threads = cpu(device).threads();
  const int64_t strips = (step * p.group + kStrip - 1) / kStrip, lanes = strips * kStrip;
  const int64_t block = kKeys * p.dp,
                floats = 2 * block + 2 * lanes * p.dp + 2 * lanes + kKeys * kStrip + kStrip * p.dp;
  float *scratch = cpu(device).scratch<float>(floats * threads);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (total > 131072)
  for (int64_t i = 0; i < n; i++) {
    float *at = scratch + floats * omp_get_thread_num();
    ForwardScratch m;
    m.k = at;
    m.v = m.k + block;
    m.qt = m.v + block;
    m.ot = m.qt + lanes * p.dp;
    m.top = m.ot + lanes * p.dp;
    m.sum = m.top + lanes;
    m.s = m.sum + lanes;
    m.lanes = m.s + kKeys * kStrip;
    with_float_or_f16(p.q.dtype, [&](auto type) { forward<decltype(type)>(p, work[i], m); });
  }
}

void attention_backward(Device &device, View gradQ, View gradK, View gradV, View gradO, View o, View lse, View q,
                        View k, View v, View cuSeqlens, float scale, int32_t window) {
  check_cu_seqlens(cuSeqlens, q.rows());
  Problem p = make_problem(q, k, v, cuSeqlens, scale, window);
  p.o = o;
  p.lse = lse;
  p.gradO = gradO;
  p.gradQ = gradQ;
  p.gradK = gradK;
  p.gradV = gradV;
  const int64_t sequences = cuSeqlens.elements() - 1;

  // A sequence of several chunks (so that a few long ones still keep every thread busy) has its gradQ in parts.
  int64_t count = 0, partial = 0, longest = 1, total = 0;
  for (int64_t b = 0; b < sequences; b++) {
    const int64_t length = p.cu[b + 1] - p.cu[b], chunk = chunk_of(length);
    count += (length + chunk - 1) / chunk * p.kvHeads;
    longest = most(longest, least(chunk, length));
    if (length <= chunk) continue;
    for (int64_t from = 0; from < length; from += chunk) partial += (length - from) * p.heads * p.d;
  }
  Work *work = cpu(device).scratch<Work>(count);
  float **parts = cpu(device).scratch<float *>(count);  // of a sequence and a kv head, by chunk
  int64_t *first_part = cpu(device).scratch<int64_t>(sequences);
  float *part = partial ? cpu(device).scratch<float>(partial) : nullptr;
  int64_t n = 0;
  for (int64_t b = 0; b < sequences; b++) {
    const int64_t start = p.cu[b], length = p.cu[b + 1] - start, chunk = chunk_of(length);
    first_part[b] = n;
    for (int64_t h = 0; h < p.kvHeads; h++) {
      for (int64_t from = 0; from < length; from += chunk) {
        const int64_t to = least(length, from + chunk), ahead = length - to;
        const int64_t cost =
            (pairs(0, to - from, p.window) + (p.window > 0 ? least(p.window, ahead) : ahead) * (to - from)) * p.group *
            p.d;
        work[n] = {start, length, from, to, h, cost, nullptr};
        if (length > chunk) {
          work[n].partQ = part;
          part += (length - from) * p.group * p.d;
        }
        parts[n] = work[n].partQ;
        total += cost;
        n++;
      }
    }
  }
  sort_by_cost(work, n);

  const int threads = cpu(device).threads();
  const int64_t keys = up_to_multiple(longest, 4) * p.dp, strip = kStrip * p.dp;
  const int64_t floats = 4 * keys + 5 * strip + 2 * kStrip + 2 * kKeys * kStrip;
  float *scratch = cpu(device).scratch<float>(floats * threads);
#pragma omp parallel num_threads(threads) if (total > 65536)
  {
    float *at = scratch + floats * omp_get_thread_num();
    BackwardScratch m;
    m.k = at;
    m.v = m.k + keys;
    m.gradK = m.v + keys;
    m.gradV = m.gradK + keys;
    m.q = m.gradV + keys;
    m.qt = m.q + strip;
    m.go = m.qt + strip;
    m.got = m.go + strip;
    m.gqt = m.got + strip;
    m.pt = m.gqt + strip;
    m.dst = m.pt + kKeys * kStrip;
    m.delta = m.dst + kKeys * kStrip;
    m.lse = m.delta + kStrip;
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < n; i++) {
      with_float_or_f16(p.q.dtype, [&](auto type) { backward<decltype(type)>(p, work[i], m); });
    }
    for (int64_t b = 0; partial && b < sequences; b++) {
      const int64_t start = p.cu[b], length = p.cu[b + 1] - start, chunk = chunk_of(length);
      if (length <= chunk) continue;
      const int64_t chunks = (length + chunk - 1) / chunk;
#pragma omp for schedule(static) nowait
      for (int64_t query = 0; query < length; query++) {
        for (int64_t h = 0; h < p.kvHeads; h++) {
          with_float_or_f16(p.q.dtype, [&](auto type) {
            add_parts<decltype(type)>(p, parts + first_part[b] + h * chunks, chunk, start, query, h);
          });
        }
      }
    }
  }
}

}  // namespace rl::cpu::RL_ISA
