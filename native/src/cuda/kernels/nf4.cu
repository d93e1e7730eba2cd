// NF4, block by block of 64 values of the flattened matrix, in bitsandbytes' own order of operations:
//   absmax = max |w|;  code = the number of midpoints between codes that are below w / absmax (w * (1 / absmax) in whole blocks).
// Doubly: offset = mean absmax; in blocks of 256, nestedAbsmax = max |absmax - offset|, and the quotient, rounded to a grid of
// 2^16 steps in [-1,1], takes the nestedCode that is nearest, the lower of two.
// All (=). A warp for each block, two neighbouring values and so a byte a lane: w is read once, the codes written once; absmax
// passes through memory twice more where it is quantised itself. Its mean is a sum in double, which is exact in any order
// unless absmax vary by more than 2^10 or so.
//
// Of weights: the copy into tiles (nf4_matrix.h) and back, w = code * absmax in f32, rounded to the activations' dtype. Back, a warp
// takes a tile at a time: 0.5 bytes a value are read and 2 (bf16) written, which is the least; the table of codes lies in shared
// memory once for each lane, so that no two lanes meet in a bank.
#include "cuda/op.h"
#if defined(RL_KERNELS)
#include "cuda/nf4_codes.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kTilesAWarp = 4;  // of the dequantisation: so the table is filled more seldom

#if defined(RL_KERNELS)

// ---- quantisation ----------------------------------------------------------------------------------------------------

/// |x| as an integer: they are ordered as the numbers are, and NaNs above infinity.
DEVICE int32_t magnitude(float x) { return static_cast<int32_t>(__float_as_uint(x) & 0x7fffffffu); }
DEVICE int32_t warp_max(int32_t x) {
  for (int step = 16; step > 0; step /= 2) {
    const int32_t other = __shfl_xor_sync(kFullWarp, x, step);
    x = other > x ? other : x;
  }
  return x;
}

template <class T>
DEVICE void quantize(uint8_t *codes, float *absmax, const T *w, int64_t values) {
  const int64_t block = static_cast<int64_t>(blockIdx.x) * kWarps + warp(), first = block * kNf4Block + lane() * 2;
  const bool whole = (block + 1) * kNf4Block <= values;
  const float x = first < values ? to_f32(w[first]) : 0.0f, y = first + 1 < values ? to_f32(w[first + 1]) : 0.0f;
  const int32_t mine = magnitude(x) > magnitude(y) ? magnitude(x) : magnitude(y);
  const float largest = __uint_as_float(static_cast<uint32_t>(warp_max(mine)));
  if (first >= values) return;
  const float divisor = largest < kNf4LeastAbsmax ? kNf4LeastAbsmax : largest;
  int high, low;
  if (whole) {
    const float factor = 1 / divisor;
    high = nf4_nearest(x * factor), low = nf4_nearest(y * factor);
  } else {  // bitsandbytes divides here, and zeros have kNf4LeastAbsmax for their absmax
    high = nf4_nearest(x / divisor), low = nf4_nearest(y / divisor);
  }
  codes[first / 2] = static_cast<uint8_t>(high << 4 | low);
  if (lane() == 0) absmax[block] = whole ? largest : divisor;
}

#define NF4_QUANTIZE(T)                                                                              \
  KERNEL(nf4_quantize_##T, kThreads, uint8_t *codes, float *absmax, const void *w, int64_t values) { \
    quantize(codes, absmax, static_cast<const T *>(w), values);                                      \
  }
FOR_FLOATS(NF4_QUANTIZE)

/// By one block.
KERNEL(nf4_mean, kThreads, float *mean, const float *absmax, int64_t blocks) {
  double sum = 0;
  for (int64_t b = threadIdx.x; b < blocks; b += kThreads) sum += static_cast<double>(absmax[b]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) *mean = static_cast<float>(sum / static_cast<double>(blocks));
}

/// Steps of absmax's quantisation; a block and a thread for each of 256.
KERNEL(nf4_quantize_absmax, kThreads, uint8_t *quantised, float *nestedAbsmax, const float *nestedCode,
       const float *mean, const float *absmax, int64_t blocks) {
  static_assert(kThreads == kNf4NestedBlock);
  SHARED(int32_t, tops, [kWarps]);
  const int64_t b = thread_of_grid();
  const float x = b < blocks ? absmax[b] - *mean : 0.0f;
  int32_t top = warp_max(magnitude(x));
  if (lane() == 0) tops[warp()] = top;
  __syncthreads();
  for (int w = 0; w < kWarps; w++) top = tops[w] > top ? tops[w] : top;
  const float largest = __uint_as_float(static_cast<uint32_t>(top));
  if (threadIdx.x == 0) nestedAbsmax[blockIdx.x] = largest;
  if (b >= blocks) return;
  if (largest == 0) {
    quantised[b] = 0;
    return;
  }
  const float quotient = x * (1 / largest), inside = quotient > 1 ? 1 : quotient < -1 ? -1 : quotient;
  // In double, so that it is one code with and without fused multiply-add; NaN gives 0.
  const float half = (inside + 1) * 0.5f;
  const float scaled = static_cast<float>(static_cast<double>(half) * 65535 + 0.5);
  const int32_t step = scaled >= 65535 ? 65535 : scaled > 0 ? static_cast<int32_t>(scaled) : 0;
  const float value = 2.0f * static_cast<float>(step) / 65535 - 1;
  int32_t index = 0;  // how many midpoints are below value
  for (int32_t range = 128; range > 0; range /= 2) {
    const int32_t at = index + range;
    if (0.5f * (nestedCode[at - 1] + nestedCode[at]) < value) index = at;
  }
  quantised[b] = static_cast<uint8_t>(index);
}

// ---- dequantisation of matrices as they are stored -------------------------------------------------------------------

/// Value i of a flattened part, as codes and absmax are stored.
DEVICE float stored_value(const Nf4Part &x, bool doubled, int64_t i) {
  const int64_t block = i / kNf4Block;
  const float absmax = doubled ? nf4_absmax(x, static_cast<const uint8_t *>(x.absmax)[block], block)
                               : static_cast<const float *>(x.absmax)[block];
  return nf4_code(i % 2 ? x.codes[i / 2] & 15 : x.codes[i / 2] >> 4) * absmax;
}

/// w[i] = value first + i; a thread for each.
#define NF4_DEQUANTIZE(T)                                                                                   \
  KERNEL(nf4_dequantize_##T, kThreads, void *w, Nf4Part x, int32_t doubled, int64_t first, int64_t count) { \
    const int64_t i = thread_of_grid();                                                                     \
    if (i < count) static_cast<T *>(w)[i] = from_f32<T>(stored_value(x, doubled != 0, first + i));          \
  }
FOR_FLOATS(NF4_DEQUANTIZE)

// ---- weights ---------------------------------------------------------------------------------------------------------

/// Where 8 columns of a row lie, `run` of its k / 8.
DEVICE int64_t run_at(int64_t k, int64_t row, int64_t run) {
  const int64_t tile = row / kNf4Rows * (k / kNf4Block) + run / 8;
  return tile * kNf4TileBytes + (row % 8 * 4 + run % 4) * 16 + row % kNf4Rows / 8 * 8 + run % 8 / 4 * 4;
}

/// The part's codes and absmax into tiles; rows past the part's are padding. A thread for each run of 16 columns.
KERNEL(nf4_pack, kThreads, uint8_t *codes, void *absmax, Nf4Part from, int32_t doubled, int64_t k, int64_t rows) {
  const int64_t i = thread_of_grid(), runs = k / 16, local = i / runs, run = i % runs, row = from.begin + local;
  if (local >= rows) return;
  const bool real = row < from.end;
  uint32_t words[2] = {0x77777777u, 0x77777777u};  // code 7 is 0
  if (real) {
    const uint8_t *in = from.codes + i * 8;
    for (int w = 0; w < 2; w++) {
      words[w] = in[w * 4] | static_cast<uint32_t>(in[w * 4 + 1]) << 8 | static_cast<uint32_t>(in[w * 4 + 2]) << 16 |
                 static_cast<uint32_t>(in[w * 4 + 3]) << 24;
    }
  }
  for (int w = 0; w < 2; w++) *reinterpret_cast<uint32_t *>(codes + run_at(k, row, run * 2 + w)) = words[w];
  if (run % 4) return;
  const int64_t blocks = k / kNf4Block, block = run / 4, source = local * blocks + block;
  const int64_t at = (row / kNf4Rows * blocks + block) * kNf4Rows + row % kNf4Rows;
  if (doubled) {
    static_cast<uint8_t *>(absmax)[at] = real ? static_cast<const uint8_t *>(from.absmax)[source] : uint8_t{0};
  } else {
    static_cast<float *>(absmax)[at] = real ? static_cast<const float *>(from.absmax)[source] : 0.0f;
  }
}

constexpr int kTable = 16 * 32;

/// table[code * 32 + lane]; by the whole block, which waits.
DEVICE void fill_table(float *table) {
  for (int i = threadIdx.x; i < kTable; i += kThreads) table[i] = nf4_code(i / 32);
  __syncthreads();
}

/// Four lanes have a row's codes, `low` those of columns 8 q .. 8 q + 7, `high` 32 on: writes all 64 in chunks of 16 bytes,
/// neighbours by neighbours. By the whole warp; `inside`: whether there is such a row. 16-byte aligned.
template <class T>
DEVICE void put_row(T *to, const float *table, uint32_t low, uint32_t high, float absmax, bool inside) {
  constexpr int kChunk = 16 / sizeof(T), kOfWord = 8 / kChunk;  // chunks of a word of codes
#pragma unroll
  for (int first = 0; first < kNf4Block / kChunk; first += 4) {
    const int chunk = first + lane() % 4;
    uint32_t codes = first / kOfWord < 4 ? low : high;
    if constexpr (kOfWord > 1) {
      codes = __shfl_sync(kFullWarp, codes, lane() / 4 * 4 + chunk / kOfWord % 4) >> chunk % kOfWord * 16;
    }
    float x[kChunk];
#pragma unroll
    for (int e = 0; e < kChunk; e++) {
      x[e] = table[(codes >> (e / 2 * 8 + (e % 2 ? 0 : 4)) & 15u) * 32 + static_cast<uint32_t>(lane())] * absmax;
    }
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if constexpr (sizeof(T) == 4) {
        words[i] = __float_as_uint(x[i]);
      } else {
        words[i] = pack_bf16(x[2 * i], x[2 * i + 1]);
      }
    }
    if (inside)
      store_vector(reinterpret_cast<uint4 *>(to + chunk * kChunk), make_uint4(words[0], words[1], words[2], words[3]));
  }
}

/// Rows [from, to_row) of a tiled matrix, dense.
template <class T>
DEVICE void dequantize_tiles(T *out, const Nf4Matrix &w, int64_t from, int64_t to_row) {
  SHARED(float, table, [kTable]);
  fill_table(table);
  const int64_t blocks = w.k / kNf4Block, begin = from / kNf4Rows * blocks,
                end = (to_row + kNf4Rows - 1) / kNf4Rows * blocks;
  for (int i = 0; i < kTilesAWarp; i++) {
    const int64_t tile = begin + (static_cast<int64_t>(blockIdx.x) * kTilesAWarp + i) * kWarps + warp();
    if (tile >= end) return;
    const uint4 codes = load_once(reinterpret_cast<const uint4 *>(w.codes + tile * kNf4TileBytes) + lane());
    const int64_t block = tile % blocks, first = tile / blocks * kNf4Rows, row = first + lane() / 4;
    const float absmax = Nf4Row(w, first + lane() % kNf4Rows)[block];
    const float of_upper = __shfl_sync(kFullWarp, absmax, lane() / 4),
                of_lower = __shfl_sync(kFullWarp, absmax, lane() / 4 + 8);
    T *to = out + (row - from) * w.k + block * kNf4Block;
    const bool upper = row >= from && row < to_row, lower = row + 8 >= from && row + 8 < to_row;
    put_row(to, table, codes.x, codes.y, of_upper, upper);
    put_row(to + 8 * w.k, table, codes.z, codes.w, of_lower, lower);
  }
}

#define NF4_DEQUANTIZE_TILES(T)                                                                  \
  KERNEL(nf4_dequantize_tiles_##T, kThreads, void *out, Nf4Matrix w, int64_t from, int64_t to) { \
    dequantize_tiles(static_cast<T *>(out), w, from, to);                                        \
  }
FOR_FLOATS(NF4_DEQUANTIZE_TILES)

/// y[t] = W[ids[t]], a block for each.
template <class T>
DEVICE void pick_rows(View y, const Nf4Matrix &w, View ids) {
  const int64_t t = blockIdx.x, id = index_at(ids.i32(), t, w.n);
  if (id < 0) return;
  const Nf4Part *part = nf4_part(w, id);
  T *out = y.row<T>(t);
  for (int64_t i = threadIdx.x; i < w.k; i += kThreads) {
    if (!w.tiled) {
      out[i] = from_f32<T>(stored_value(*part, w.doubled != 0, (id - part->begin) * w.k + i));
      continue;
    }
    const uint8_t byte = w.codes[run_at(w.k, id, i / 8) + i % 8 / 2];
    out[i] = from_f32<T>(nf4_code(i % 2 ? byte & 15 : byte >> 4) * Nf4Row(w, id)[i / kNf4Block]);
  }
}

#define NF4_ROWS(T) \
  KERNEL(nf4_rows_##T, kThreads, View y, Nf4Matrix w, View ids) { pick_rows<T>(y, w, ids); }
FOR_FLOATS(NF4_ROWS)

#else

void nf4_quantize(Device &device, const Nf4 &y, View w) {
  CudaDevice &d = gpu(device);
  const int64_t blocks = y.absmax.elements();
  const bool doubled = y.absmax.dtype == RL_U8;
  float *absmax = doubled ? d.scratch<float>(blocks) : y.absmax.f32();
  const float *read = absmax, *mean = y.offset.f32(), *code = y.nestedCode.f32();
  d.launch(kernel_name("nf4_quantize", {w.dtype}), Grid{ceil_div(blocks, kWarps), 1, kThreads}, y.codes.as<uint8_t>(),
           absmax, static_cast<const void *>(w.data), w.elements());
  if (!doubled) return;
  d.launch("nf4_mean", Grid{1, 1, kThreads}, y.offset.f32(), read, blocks);
  d.launch("nf4_quantize_absmax", by_element(blocks, kThreads), y.absmax.as<uint8_t>(), y.nestedAbsmax.f32(), code,
           mean, read, blocks);
}

void nf4_dequantize(Device &device, View w, const Nf4 &x) {
  gpu(device).launch(kernel_name("nf4_dequantize", {w.dtype}), by_element(w.elements(), kThreads), w.data,
                     as_part(x, 0), static_cast<int32_t>(x.absmax.dtype == RL_U8), int64_t{0}, w.elements());
}

#endif

}  // namespace rl::cuda
