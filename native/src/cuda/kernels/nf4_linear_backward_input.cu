// gradX = gradY W (= or +=) with W [n,k] in NF4, k a multiple of 64, and gradY bf16 [T,n].
// The contraction runs along W's rows, each with an absmax of its own, so values code * absmax are rounded to bf16 first.
// A block for 64 columns of W by 8 or 32 rows of gradY: W's rows are cut into kParts runs, a warp for each, which takes 32 rows at
// a time from the codes through registers into shared memory of its own, and from there transposed (ldmatrix) as operand A of
// gradX^T = W^T gradY^T. The runs are added in their order, which is one for any number of rows: a row's bits depend on nothing
// else. gradY is read from the cache: within 32 rows of W the contraction's order is such that a lane's share is 16 bytes in a row.
// nf4_linear_backward_input_..._lora: with a lora_linear's legs (lora_fragments.h), whose steps are units of 32 rows, too.
// Traffic: 0.5 bytes a value for the codes and 1/64 or 1/16 for absmax, once for each 32 rows of gradY.
#include "cuda/lora_fragments.h"
#include "cuda/nf4_linear.h"
#include "cuda/op.h"
#if defined(RL_KERNELS)
#include "cuda/nf4_operand.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 256;
constexpr int kParts = kThreads / 32;
constexpr int kUnit = 32;  // rows of W that a warp takes at a time
static_assert(kParts == kLegParts);
constexpr int kColumns = 64;
constexpr int kTableBytes = 16 * 32 * 4;
constexpr int kStageBytes = kUnit * kColumns * 2;
constexpr int kSumPitch = kColumns + 4;  // a fragment's lanes have rows 2 q and columns g: none in a bank of another

constexpr int64_t shared_bytes(int rows) {
  return kTableBytes + kParts * kStageBytes + rows * kSumPitch * static_cast<int64_t>(sizeof(float));
}

#if defined(RL_KERNELS)

static_assert(kUnit == kStep);

/// 32 rows of W by 64 columns as a warp has loaded them, and the same columns of 8 kN rows of gradY.
template <int kN>
struct Unit {
  uint4 codes[2];  // of 16 rows each
  float absmax;    // of row `lane`
  uint4 g[kN];     // columns 8 q .. 8 q + 7 of row 8 n + lane / 4

  DEVICE_MEMBER void load(const Nf4Matrix &w, const Nf4Part *&part, const View &gradY, int64_t first_row, int64_t unit,
                          int64_t block) {
    const int64_t row = unit * kUnit + lane(), blocks = w.k / kNf4Block, strips = (w.n + kNf4Rows - 1) / kNf4Rows;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int64_t strip = unit * 2 + i;
      codes[i] = strip < strips ? nf4_tile(w, strip, block) : make_uint4(0, 0, 0, 0);
    }
    absmax = 0;
    if (row < w.n) {
      const int64_t at = (row / kNf4Rows * blocks + block) * kNf4Rows + row % kNf4Rows;
      if (w.doubled) {
        while (row >= part->end) part++;
        absmax = nf4_absmax(*part, static_cast<const uint8_t *>(w.absmax)[at], (row - part->begin) * blocks + block);
      } else {
        absmax = static_cast<const float *>(w.absmax)[at];
      }
    }
    const int64_t column = unit * kUnit + lane() % 4 * 8;
#pragma unroll
    for (int n = 0; n < kN; n++) {
      const int64_t t = first_row + n * 8 + lane() / 4;
      g[n] = t < gradY.rows() && column < w.n
                 ? load_vector(reinterpret_cast<const uint4 *>(gradY.row<bf16>(t) + column))
                 : make_uint4(0, 0, 0, 0);
    }
  }
};

/// The place of row 8 q + 4 j + 2 h + e of a unit: q and e innermost, as product j's contraction runs.
DEVICE int place(int row) { return row % 8 / 4 * 16 + row % 4 / 2 * 8 + row / 8 * 2 + row % 2; }

/// Where columns 8 c .. 8 c + 7 of the unit's place `row` lie in the stage. Neither eight rows of one c meet in a bank, nor two rows
/// of four c, of which the first is even.
DEVICE int stage_at(int row, int c) { return row * kColumns + (c ^ row % 8 / 2 ^ row % 2 * 4) * 8; }

/// The values of 8 columns of a row, to shared memory.
DEVICE void put_values(bf16 *to, const float *table, uint32_t codes, float absmax) {
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const uint32_t byte = codes >> i * 8;
    words[i] = pack_bf16(table[(byte >> 4 & 15u) * 32] * absmax, table[(byte & 15u) * 32] * absmax);
  }
  store_vector(reinterpret_cast<uint4 *>(to), make_uint4(words[0], words[1], words[2], words[3]));
}

/// Operand A of product j of a unit for columns 16 m .. 16 m + 15.
DEVICE void load_unit(uint32_t (&a)[4], const bf16 *stage, int j, int m) {
  ldmatrix_x4_transposed(a, stage + stage_at(j * 16 + lane() / 16 * 8 + lane() % 8, m * 2 + lane() / 8 % 2));
}

/// total += this warp's part of the legs of `columns` from `column` on for rows [row, row + 8 kN) of `rows`, of what each range's
/// dropout keeps.
template <int kN>
DEVICE void add_legs(float (&total)[4][kN][4], bf16 *stage, const LoraTable &table, int64_t row, int64_t rows,
                     int64_t column, int64_t columns) {
  const Legs legs{table, row, row + 8 * kN, column, column + kColumns};
  legs.for_each([&](const LoraRange &range, const LoraEntry &entry) {
    const bf16 *leg = static_cast<const bf16 *>(entry.leg) + column + lane() % 8 * 8,
               *gh = leg_line(range.rows, range.pitch, row + lane() / 4);
    const int begin = static_cast<int>(entry.begin - row) - lane() / 4, pitch = static_cast<int>(range.pitch),
              end = static_cast<int>(entry.end - row) - lane() / 4;
#pragma unroll 1
    for (int k = warp() * kUnit; k < entry.depth; k += kParts * kUnit) {
#pragma unroll
      for (int i = 0; i < kUnit; i += 4) {
        const int line = i + lane() / 8;
        store_vector(reinterpret_cast<uint4 *>(stage + stage_at(place(line), lane() % 8)),
                     load_vector(reinterpret_cast<const uint4 *>(leg + (k + line) * columns)));
      }
      uint4 g[kN];
#pragma unroll
      for (int n = 0; n < kN; n++) {
        g[n] = leg_columns(gh + n * 8 * pitch + k, n * 8 >= begin && n * 8 < end);
      }
      __syncwarp();
#pragma unroll
      for (int half = 0; half < 2; half++) {
        uint32_t keep[kN][2];  // of rows 2 q + e and 32 columns
#pragma unroll
        for (int n = 0; n < kN; n++) {
#pragma unroll
          for (int e = 0; e < 2; e++) {
            const int64_t t = row + n * 8 + lane() % 4 * 2 + e;
            keep[n][e] = !range.mask ? ~0u : t < rows ? range.mask[t * range.words + column / 32 + half] : 0u;
            keep[n][e] >>= lane() / 4;
          }
        }
#pragma unroll
        for (int m = 0; m < 2; m++) {
          uint32_t a[2][4];
#pragma unroll
          for (int j = 0; j < 2; j++) load_unit(a[j], stage, j, half * 2 + m);
#pragma unroll
          for (int n = 0; n < kN; n++) {
            float part[4] = {};
            mma_bf16(part, a[0], g[n].x, g[n].y);
            mma_bf16(part, a[1], g[n].z, g[n].w);
#pragma unroll
            for (int r = 0; r < 4; r++) {
              total[half * 2 + m][n][r] += keep[n][r % 2] >> (m * 16 + r / 2 * 8) & 1 ? part[r] : 0.0f;
            }
          }
        }
      }
      __syncwarp();  // the stage is free
    }
    return true;
  });
}

/// blockIdx.x: 64 columns; blockIdx.y: 8 kN rows of gradY.
template <class Out, int kN, bool kLegs>
DEVICE void backward_input(const View &gradX, const View &gradY, const Nf4Matrix &w, bool accumulate,
                           const LoraTable &legs) {
  SHARED_DYNAMIC(memory);
  float *table = reinterpret_cast<float *>(memory);
  bf16 *stage = reinterpret_cast<bf16 *>(memory + kTableBytes + warp() * kStageBytes);
  float *sums = reinterpret_cast<float *>(memory + kTableBytes + kParts * kStageBytes);  // [8 kN][64]
  const int64_t block = blockIdx.x, first_row = blockIdx.y * (8 * kN), units = (w.n + kUnit - 1) / kUnit;
  const int64_t begin = warp() * units / kParts, end = (warp() + 1) * units / kParts;
  const Nf4Part *part = w.parts;
  Unit<kN> next;
  if (begin < end) next.load(w, part, gradY, first_row, begin, block);
  for (int i = threadIdx.x; i < 16 * 32; i += kThreads) table[i] = nf4_code(i / 32);
  __syncthreads();
  float total[4][kN][4] = {};
  if constexpr (kLegs) add_legs(total, stage, legs, first_row, gradX.rows(), block * kColumns, gradX.cols());
  for (int64_t u = begin; u < end; u++) {
    const Unit<kN> unit = next;
    if (u + 1 < end) next.load(w, part, gradY, first_row, u + 1, block);
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int row = i * 16 + lane() / 4;
      const float upper = __shfl_sync(kFullWarp, unit.absmax, row),
                  lower = __shfl_sync(kFullWarp, unit.absmax, row + 8);
      const int q = lane() % 4;
      put_values(stage + stage_at(place(row), q), table + lane(), unit.codes[i].x, upper);
      put_values(stage + stage_at(place(row), q + 4), table + lane(), unit.codes[i].y, upper);
      put_values(stage + stage_at(place(row + 8), q), table + lane(), unit.codes[i].z, lower);
      put_values(stage + stage_at(place(row + 8), q + 4), table + lane(), unit.codes[i].w, lower);
    }
    __syncwarp();
#pragma unroll
    for (int j = 0; j < 2; j++) {
#pragma unroll
      for (int m = 0; m < 4; m++) {
        uint32_t a[4];
        load_unit(a, stage, j, m);
#pragma unroll
        for (int n = 0; n < kN; n++) {
          mma_bf16(total[m][n], a, j ? unit.g[n].z : unit.g[n].x, j ? unit.g[n].w : unit.g[n].y);
        }
      }
    }
    __syncwarp();  // the stage is free
  }
  for (int p = 0; p < kParts; p++) {
    if (p == warp()) {
#pragma unroll
      for (int m = 0; m < 4; m++) {
#pragma unroll
        for (int n = 0; n < kN; n++) {
#pragma unroll
          for (int r = 0; r < 4; r++) {
            const int t = n * 8 + lane() % 4 * 2 + r % 2, column = m * 16 + lane() / 4 + r / 2 * 8;
            float *sum = sums + t * kSumPitch + column;
            *sum = p == 0 ? total[m][n][r] : *sum + total[m][n][r];
          }
        }
      }
    }
    __syncthreads();
  }
  for (int i = threadIdx.x; i < 8 * kN * kColumns; i += kThreads) {
    const int64_t t = first_row + i / kColumns, column = block * kColumns + i % kColumns;
    if (t >= gradX.rows()) break;
    Out *out = gradX.row<Out>(t) + column;
    const float sum = sums[i / kColumns * kSumPitch + i % kColumns];
    *out = from_f32<Out>(accumulate ? to_f32(*out) + sum : sum);
  }
}

#define NF4_LINEAR_BACKWARD_INPUT_ROWS(rows, blocks, Out)                                                             \
  KERNEL_BLOCKS(nf4_linear_backward_input_##rows##_##Out, kThreads, blocks, View gradX, View gradY, Nf4Matrix w,      \
                int32_t accumulate) {                                                                                 \
    backward_input<Out, rows / 8, false>(gradX, gradY, w, accumulate, LoraTable{});                                   \
  }                                                                                                                   \
  KERNEL_BLOCKS(nf4_linear_backward_input_##rows##_lora_##Out, kThreads, blocks, View gradX, View gradY, Nf4Matrix w, \
                int32_t accumulate, LoraTable legs) {                                                                 \
    backward_input<Out, rows / 8, true>(gradX, gradY, w, accumulate, legs);                                           \
  }
#define NF4_LINEAR_BACKWARD_INPUT(Out)      \
  NF4_LINEAR_BACKWARD_INPUT_ROWS(8, 2, Out) \
  NF4_LINEAR_BACKWARD_INPUT_ROWS(32, 1, Out)
FOR_FLOATS(NF4_LINEAR_BACKWARD_INPUT)

#else

namespace {

/// Rows as 16-byte loads want them, with zeros after the last column.
View padded(CudaDevice &device, const View &x) {
  if (reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.row_stride() % 8 == 0 && x.cols() % 8 == 0) return x;
  View dense = x, some = x;
  dense.stride[0] = some.stride[0] = dense.shape[1] = (x.cols() + 7) / 8 * 8;
  dense.data = some.data = device.scratch<uint16_t>(dense.elements());
  fill(device, dense, 0);
  copy(device, some, x);
  return dense;
}

}  // namespace

void nf4_linear_backward_input(CudaDevice &device, View gradX, View gradY, const Nf4Matrix &w, bool accumulate,
                               const LoraTable *legs) {
  const int tile = gradY.rows() <= 8 ? 8 : 32;
  const Grid grid{w.k / kColumns, ceil_div(gradY.rows(), tile), kThreads, shared_bytes(tile)};
  const char *kernel = tile == 8 ? "nf4_linear_backward_input_8" : "nf4_linear_backward_input_32";
  launch_beside(device, kernel, {gradX.dtype}, legs, grid, gradX, padded(device, gradY), w,
                static_cast<int32_t>(accumulate));
}

#endif

}  // namespace rl::cuda
