// y = x W^T + bias (= or +=) with W [n,k] in NF4, k a multiple of 64, and x bf16 [T,k].  Within 64 columns a row of W has one
// absmax, so codes are multiplied first and their sum by absmax after:
//   y = sum over blocks of absmax_block * sum over the block of x * code.
// The order of the sum is one for any number of rows, so a row's bits depend on nothing else: the blocks of a row of W are cut into
// kParts runs, each run is added up block by block, then the runs in their order.
//   Up to 8 rows: a block of threads for 16 rows of W, a warp for each run. x is read from the cache.
//   More: a block for 128 rows of W by up to 64 of x, a warp for each 16 rows of W; x passes through shared memory, two stages of
//   128 columns. Where that leaves most of the GPU idle the runs go to blocks of their own, and their sums pass through memory.
// nf4_linear_..._lora: with a lora_linear's legs (lora_fragments.h), which the runs share; so those rows' bits depend on nothing
// else, either.
// Traffic: 0.5 bytes a value for the codes and 1/64 or 1/16 for absmax, once for each 64 rows of x: a quarter of bf16's.
#include "cuda/lora_fragments.h"
#include "cuda/nf4_linear.h"
#include "cuda/op.h"
#if defined(RL_KERNELS)
#include "cuda/nf4_operand.h"
#include "cuda/sum_place.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kParts = kWarps;
static_assert(kParts == kLegParts);
constexpr int kFewRows = 8;
constexpr int kTableBytes = 256 * 32 * 4;
/// A stage of x in shared memory: its pitch keeps 16-byte loads by columns 8 q of two rows, which are eight lanes', without bank
/// conflicts.
constexpr int kStageColumns = 128, kPitch = kStageColumns + 32;

#if defined(RL_KERNELS)

DEVICE int64_t part_begin(int64_t blocks, int64_t part) { return part * blocks / kParts; }

/// Two columns beside each other, the first one even, by one access where y's rows allow it.
DEVICE void put_pair(const View &y, const View &bias, bool accumulate, int64_t t, int64_t column, float low,
                     float high) {
  if (t >= y.rows() || column >= y.cols()) return;
  bf16 *out = y.row<bf16>(t) + column;
  const bool both = column + 1 < y.cols();
  if (bias) {
    low += bias.f32()[column];
    if (both) high += bias.f32()[column + 1];
  }
  if (both && reinterpret_cast<uintptr_t>(out) % 4 == 0) {
    if (accumulate) {
      const uint32_t before = load_vector(reinterpret_cast<const uint32_t *>(out));
      low += __uint_as_float(before << 16);
      high += __uint_as_float(before & 0xffff0000u);
    }
    store_vector(reinterpret_cast<uint32_t *>(out), pack_bf16(low, high));
    return;
  }
  out[0] = from_f32<bf16>(accumulate ? to_f32(out[0]) + low : low);
  if (both) out[1] = from_f32<bf16>(accumulate ? to_f32(out[1]) + high : high);
}

template <class Y>
DEVICE void put(const View &y, const View &bias, bool accumulate, int64_t t, int64_t column, float value) {
  if (t >= y.rows() || column >= y.cols()) return;
  if (bias) value += bias.f32()[column];
  Y *out = y.row<Y>(t) + column;
  *out = from_f32<Y>(accumulate ? to_f32(*out) + value : value);
}

// ---- few rows --------------------------------------------------------------------------------------------------------

template <class Y, class WithLegs>
DEVICE void few_rows(const View &y, const View &x, const Nf4Matrix &w, const View &bias, bool accumulate,
                     const WithLegs &legs) {
  SHARED_DYNAMIC(memory);
  uint32_t *table = reinterpret_cast<uint32_t *>(memory);
  float *sums = reinterpret_cast<float *>(memory + kTableBytes);  // [kParts][8 rows of x, 16 of W]
  const int64_t strip = blockIdx.x, blocks = w.k / kNf4Block;
  const int64_t begin = part_begin(blocks, warp()), end = part_begin(blocks, warp() + 1);
  const Nf4Row row(w, strip * kNf4Rows + lane() % 16);
  Nf4TilePair next;
  next.load(w, row, strip, begin, end);
  fill_nf4_pairs(table);
  float total[1][4] = {};
  legs.add(total, 0, strip * kNf4Rows, warp());
  __syncthreads();
  // Rows past the last are the last once more; what they give is not stored.
  const bf16 *mine = x.row<bf16>(smaller(lane() / 4, x.rows() - 1)) + lane() % 4 * 8;
  for (int64_t block = begin; block < end; block += 2) {
    const Nf4TilePair pair = next;
    next.load(w, row, strip, block + 2, end);
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const float upper = pair.scale_of(i, lane() / 4), lower = pair.scale_of(i, lane() / 4 + 8);
      if (block + i >= end) break;
      add_nf4_tile(total, table, pair.codes[i], upper, lower,
                   [&](int) { return nf4_columns(mine + (block + i) * kNf4Block); });
    }
  }
#pragma unroll
  for (int r = 0; r < 4; r++) {
    sums[warp() * kFewRows * 16 + sum_place(lane() % 4 * 2 + r % 2, lane() / 4 + r / 2 * 8)] = total[0][r];
  }
  __syncthreads();
  if (threadIdx.x >= 16 * kFewRows) return;
  const int column = threadIdx.x % 16, t = threadIdx.x / 16;
  float sum = 0;
  for (int p = 0; p < kParts; p++) sum += sums[p * kFewRows * 16 + sum_place(t, column)];
  put<Y>(y, bias, accumulate, t, strip * kNf4Rows + column, sum);
}

// ---- more rows -------------------------------------------------------------------------------------------------------

/// Starts copying columns of two blocks of 8 kN rows of x; those past the end become zero.
template <int kN>
DEVICE void load_stage(bf16 *stage, const View &x, int64_t first_row, int64_t block) {
  constexpr int kChunks = kStageColumns / 8;
  for (int i = threadIdx.x; i < kN * 8 * kChunks; i += kThreads) {
    const int r = i / kChunks, c = i % kChunks * 8;
    const int64_t row = first_row + r, column = block * kNf4Block + c;
    const bool inside = row < x.rows() && column < x.cols();
    cp_async16(stage + r * kPitch + c, inside ? x.row<bf16>(row) + column : x.as<bf16>(), inside);
  }
}

/// The sums of run `part` for this warp's strip.
template <int kN, class WithLegs>
DEVICE void add_part(float (&total)[kN][4], const View &x, const Nf4Matrix &w, const Nf4Row &row, int64_t strip,
                     int64_t first_row, int64_t part, const uint32_t *table, bf16 *stages, const WithLegs &legs) {
  constexpr int kStage = kN * 8 * kPitch;
  const int64_t blocks = w.k / kNf4Block, begin = part_begin(blocks, part), end = part_begin(blocks, part + 1);
  const bool real = strip * kNf4Rows < w.n;
  Nf4TilePair next;
  if (begin < end) {  // the same for the whole grid
    load_stage<kN>(stages, x, first_row, begin);
    cp_async_commit();
    if (real) next.load(w, row, strip, begin, end);
  }
  if (legs.reach(static_cast<int>(part))) legs.add(total, first_row, strip * kNf4Rows, static_cast<int>(part));
  int stage = 0;
  for (int64_t block = begin; block < end; block += 2, stage ^= 1) {
    const Nf4TilePair pair = next;
    if (block + 2 < end) {
      load_stage<kN>(stages + (stage ^ 1) * kStage, x, first_row, block + 2);
      cp_async_commit();
      if (real) next.load(w, row, strip, block + 2, end);
      cp_async_wait<1>();
    } else {
      cp_async_wait<0>();
    }
    __syncthreads();
    if (real) {
      const bf16 *mine = stages + stage * kStage + lane() / 4 * kPitch + lane() % 4 * 8;
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const float upper = pair.scale_of(i, lane() / 4), lower = pair.scale_of(i, lane() / 4 + 8);
        if (block + i >= end) break;
        add_nf4_tile(total, table, pair.codes[i], upper, lower,
                     [&](int n) { return nf4_columns(mine + n * 8 * kPitch + i * static_cast<int>(kNf4Block)); });
      }
    }
    __syncthreads();  // the stage is free for the step after the next
  }
}

/// use(row of x, row of W, value) for each of the sums that this thread holds.
template <int kN, class Use>
DEVICE void for_each(const float (&total)[kN][4], int64_t first_row, int64_t strip, Use &&use) {
#pragma unroll
  for (int n = 0; n < kN; n++) {
#pragma unroll
    for (int r = 0; r < 4; r++) {
      use(first_row + n * 8 + lane() % 4 * 2 + r % 2, strip * kNf4Rows + lane() / 4 + r / 2 * 8, total[n][r]);
    }
  }
}

/// blockIdx.x: 128 rows of W; blockIdx.y: 8 kN rows of x.
template <class Y, int kN, class WithLegs>
DEVICE void more_rows(const View &y, const View &x, const Nf4Matrix &w, const View &bias, bool accumulate,
                      const WithLegs &legs) {
  SHARED_DYNAMIC(memory);
  uint32_t *table = reinterpret_cast<uint32_t *>(memory);
  bf16 *stages = reinterpret_cast<bf16 *>(memory + kTableBytes);
  const int64_t strip = static_cast<int64_t>(blockIdx.x) * kWarps + warp(), first_row = blockIdx.y * (kN * 8);
  const Nf4Row row(w, strip * kNf4Rows + lane() % 16);
  fill_nf4_pairs(table);
  float sum[kN][4] = {};
  for (int64_t part = 0; part < kParts; part++) {
    float total[kN][4] = {};
    add_part<kN>(total, x, w, row, strip, first_row, part, table, stages, legs);
#pragma unroll
    for (int n = 0; n < kN; n++) {
#pragma unroll
      for (int r = 0; r < 4; r++) sum[n][r] += total[n][r];
    }
  }
  if constexpr (sizeof(Y) == 2) {
    // A lane's columns are g and g + 8, its neighbour's g + 1 and g + 9: they change places, and 8 lanes write 32 bytes of a row.
    const bool odd = lane() / 4 % 2 != 0;
#pragma unroll
    for (int n = 0; n < kN; n++) {
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const float mine = odd ? sum[n][2 + e] : sum[n][e];
        const float other = __shfl_xor_sync(kFullWarp, odd ? sum[n][e] : sum[n][2 + e], 4);
        put_pair(y, bias, accumulate, first_row + n * 8 + lane() % 4 * 2 + e,
                 strip * kNf4Rows + lane() / 8 * 2 + (odd ? 8 : 0), odd ? other : mine, odd ? mine : other);
      }
    }
  } else {
    for_each(sum, first_row, strip,
             [&](int64_t t, int64_t column, float value) { put<Y>(y, bias, accumulate, t, column, value); });
  }
}

/// sums f32 [kParts,T,n]. blockIdx.y: 8 kN rows of x, and the runs side by side.
template <int kN, class WithLegs>
DEVICE void one_part(float *sums, const View &x, const Nf4Matrix &w, const WithLegs &legs) {
  SHARED_DYNAMIC(memory);
  uint32_t *table = reinterpret_cast<uint32_t *>(memory);
  bf16 *stages = reinterpret_cast<bf16 *>(memory + kTableBytes);
  const int64_t strip = static_cast<int64_t>(blockIdx.x) * kWarps + warp(), part = blockIdx.y % kParts,
                first_row = blockIdx.y / kParts * (kN * 8);
  const Nf4Row row(w, strip * kNf4Rows + lane() % 16);
  fill_nf4_pairs(table);
  float total[kN][4] = {};
  add_part<kN>(total, x, w, row, strip, first_row, part, table, stages, legs);
  for_each(total, first_row, strip, [&](int64_t t, int64_t column, float value) {
    if (t < x.rows() && column < w.n) sums[(part * x.rows() + t) * w.n + column] = value;
  });
}

/// The runs in their order; a thread for each element.
template <class Y>
DEVICE void add_parts(const View &y, const float *sums, const View &bias, bool accumulate) {
  const int64_t column = thread_of_grid(), t = blockIdx.y, n = y.cols();
  if (column >= n) return;
  float sum = 0;
#pragma unroll
  for (int64_t p = 0; p < kParts; p++) sum += sums[(p * y.rows() + t) * n + column];
  put<Y>(y, bias, accumulate, t, column, sum);
}

// `blocks`: as many as the plain instance's registers allow, which the other one keeps to.
#define NF4_LINEAR_ROWS(rows, blocks, Y, function)                                                      \
  KERNEL_BLOCKS(nf4_linear_##rows##_##Y, kThreads, blocks, View y, View x, Nf4Matrix w, View bias,      \
                int32_t accumulate) {                                                                   \
    function(y, x, w, bias, accumulate, NoLegs());                                                      \
  }                                                                                                     \
  KERNEL_BLOCKS(nf4_linear_##rows##_lora_##Y, kThreads, blocks, View y, View x, Nf4Matrix w, View bias, \
                int32_t accumulate, LoraTable legs) {                                                   \
    function(y, x, w, bias, accumulate, AddedLegs{legs});                                               \
  }
#define NF4_LINEAR(Y)                                                                                    \
  NF4_LINEAR_ROWS(few_rows, 3, Y, few_rows<Y>)                                                           \
  NF4_LINEAR_ROWS(16, 2, Y, (more_rows<Y, 2>))                                                           \
  NF4_LINEAR_ROWS(32, 1, Y, (more_rows<Y, 4>))                                                           \
  NF4_LINEAR_ROWS(64, 1, Y, (more_rows<Y, 8>))                                                           \
  KERNEL(nf4_linear_add_parts_##Y, kThreads, View y, const float *sums, View bias, int32_t accumulate) { \
    add_parts<Y>(y, sums, bias, accumulate);                                                             \
  }
FOR_FLOATS(NF4_LINEAR)

#define NF4_LINEAR_PART(rows, blocks)                                                                                \
  KERNEL_BLOCKS(nf4_linear_part_##rows, kThreads, blocks, float *sums, View x, Nf4Matrix w) {                        \
    one_part<rows / 8>(sums, x, w, NoLegs());                                                                        \
  }                                                                                                                  \
  KERNEL_BLOCKS(nf4_linear_part_##rows##_lora, kThreads, blocks, float *sums, View x, Nf4Matrix w, LoraTable legs) { \
    one_part<rows / 8>(sums, x, w, AddedLegs{legs});                                                                 \
  }
NF4_LINEAR_PART(16, 2)
NF4_LINEAR_PART(32, 2)
NF4_LINEAR_PART(64, 1)

#else

namespace {

/// Rows as 16-byte loads want them.
View aligned(CudaDevice &device, const View &x) {
  if (reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.row_stride() % 8 == 0) return x;
  View dense = x;
  dense.stride[0] = x.cols();
  dense.data = device.scratch<uint16_t>(x.elements());
  copy(device, dense, x);
  return dense;
}

}  // namespace

void nf4_linear(CudaDevice &device, View y, View x, const Nf4Matrix &w, View bias, bool accumulate,
                const LoraTable *legs) {
  const int64_t rows = x.rows(), strips = ceil_div(w.n, kNf4Rows);
  const int32_t add = accumulate;
  x = aligned(device, x);
  if (rows <= kFewRows) {
    const Grid grid{strips, 1, kThreads, kTableBytes + kParts * 16 * kFewRows * 4};
    launch_beside(device, "nf4_linear_few_rows", {y.dtype}, legs, grid, y, x, w, bias, add);
    return;
  }
  struct Tile {
    int64_t rows;
    const char *whole, *part;
  };
  constexpr Tile tiles[] = {{16, "nf4_linear_16", "nf4_linear_part_16"},
                            {32, "nf4_linear_32", "nf4_linear_part_32"},
                            {64, "nf4_linear_64", "nf4_linear_part_64"}};
  const Tile &tile = tiles[rows <= 16 ? 0 : rows <= 32 ? 1 : 2];
  const int64_t groups = ceil_div(strips, kWarps), steps = ceil_div(rows, tile.rows);
  const int64_t shared = kTableBytes + 2 * tile.rows * kPitch * 2;
  if (groups * steps * 2 > device.multiprocessors()) {
    const Grid grid{groups, steps, kThreads, shared};
    launch_beside(device, tile.whole, {y.dtype}, legs, grid, y, x, w, bias, add);
    return;
  }
  float *sums = device.scratch<float>(kParts * rows * w.n);
  launch_beside(device, tile.part, {}, legs, Grid{groups, steps * kParts, kThreads, shared}, sums, x, w);
  device.launch(kernel_name("nf4_linear_add_parts", {y.dtype}), Grid{ceil_div(w.n, kThreads), rows, kThreads}, y,
                static_cast<const float *>(sums), bias, add);
}

#endif

}  // namespace rl::cuda
