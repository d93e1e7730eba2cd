// C = A B by tiles: a block walks the contraction in steps of 32, the operands of the next steps being copied (cp.async) while
// this one's are multiplied. bf16 by tensor cores (mma.sync, ldmatrix; the next fragments are read while this one's multiply),
// f32 by plain multiply-adds in f32, and by tensor cores only as tf32, which keeps ten bits of a factor.
// An operand may lie along the contraction (rows of k) or across it (k rows); padding keeps shared memory without bank conflicts.
//
// Tiles of C (matrix_product.h chooses by the shape):
//   SmallTiles   64 x 64, 4 warps of 32 x 32.   Reads 1/32 element for each multiply-add.
//   LargeTiles  128 x 128, 8 warps of 64 x 32.  Half of that; 64 accumulators a thread, one block a multiprocessor.
// An element's products are added up in the order of k whatever the tile, so its bits do not depend on the choice.
#pragma once

#include "cuda/device_code.h"
#include "cuda/tiles.h"

namespace rl::cuda {

/// One operand of a product: element (i, k) is data[i * stride + k] if it lies along the contraction, else data[k * stride + i].
/// Whatever has such a `load` and `part` can stand in its place.
template <class T>
struct Operand {
  const T *data;
  int64_t stride;
  int64_t count;  // of i
  int64_t depth;  // of k

  /// Starts copying the tile of rows from `first` on and contraction from `k` on; what lies outside becomes zero.
  template <class Buffer>
  DEVICE_MEMBER void load(T *tile, int64_t first, int64_t k) const {
    Buffer::load(tile, *this, first, k);
  }
  /// Its contraction from `from` on, at most `length` of it.
  template <bool kAlong>
  DEVICE_MEMBER Operand part(int64_t from, int64_t length) const {
    return {data + (kAlong ? from : from * stride), stride, count, smaller(length, depth - from)};
  }
};

/// A tile of an operand in shared memory: kCount of i, kStep of k.
template <class T, bool kAlongK, int kCount = kTile, int kThreads = kProductThreads>
struct TileBuffer {
  static constexpr bool kAlong = kAlongK;
  static constexpr int kChunk = 16 / sizeof(T);  // elements of one asynchronous copy
  static constexpr int kLines = kAlong ? kCount : kStep, kWidth = kAlong ? kStep : kCount;
  static constexpr int kPitch = kWidth + tile_padding(kAlong, sizeof(T));
  static constexpr int kSize = tile_elements(kAlong, kCount, sizeof(T));
  static constexpr int kAcross = kWidth / kChunk, kChunks = kLines * kAcross;

  /// The line of chunk i. Eight lanes store at a time: where that is two lines of 64 bytes, lines 4 apart lie in different banks.
  static DEVICE_MEMBER int line(int i) {
    const int l = i / kAcross;
    return kAcross == 4 ? (l & ~7) | (l & 1) << 2 | (l >> 1 & 3) : l;
  }
  static DEVICE_MEMBER void load(T *tile, const Operand<T> &x, int64_t first, int64_t k) {
    const int64_t line0 = kAlong ? first : k, column0 = kAlong ? k : first;
    const int64_t lines = kAlong ? x.count : x.depth, columns = kAlong ? x.depth : x.count;
    const bool vectors = reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.stride % kChunk == 0;
    if (vectors && line0 + kLines <= lines && column0 + kWidth <= columns) {
      const T *corner = x.data + line0 * x.stride + column0;
#pragma unroll
      for (int i = threadIdx.x; i < kChunks; i += kThreads) {
        const int l = line(i), c = i % kAcross * kChunk;
        cp_async16(tile + l * kPitch + c, corner + l * x.stride + c, true);
      }
      return;
    }
    const T *aligned =
        x.data - reinterpret_cast<uintptr_t>(x.data) % 16 / sizeof(T);  // an address for what is not read
#pragma unroll 1                                                        // registers are for the products
    for (int i = threadIdx.x; i < kChunks; i += kThreads) {
      const int l = line(i), c = i % kAcross * kChunk;
      const int64_t at = line0 + l, column = column0 + c;
      const bool inside = at < lines && column + kChunk <= columns, outside = at >= lines || column >= columns;
      T *to = tile + l * kPitch + c;
      if (outside || (inside && vectors)) {
        const T *from = inside ? x.data + at * x.stride + column : aligned;
        cp_async16(to, from, inside);
        continue;
      }
#pragma unroll 1
      for (int e = 0; e < kChunk; e++) {
        to[e] = column + e < columns ? x.data[at * x.stride + column + e] : from_f32<T>(0.0f);
      }
    }
  }
  static DEVICE_MEMBER const T *at(const T *tile, int i, int k) {
    return tile + (kAlong ? i * kPitch + k : k * kPitch + i);
  }
};

/// Bits of a dropout: element (row, column) is kept if bit column % 32 of words[row * pitch + column / 32] is set.
struct DropoutMask {
  const uint32_t *words;  // null: everything is kept
  int64_t rows, pitch;

  /// The word of columns from `column` on, a multiple of 32; nothing is kept outside.
  DEVICE_MEMBER uint32_t word(int64_t row, int64_t column) const {
    return row < rows && column / 32 < pitch ? words[row * pitch + column / 32] : 0;
  }
};

/// What one thread holds of a tile of C.
template <class T, class Tiles = SmallTiles>
struct Accumulator;

/// Tensor cores: each warp a part of the tile, in pieces of 16 x 8.
template <class Tiles>
struct TensorAccumulator {
  static constexpr int kDown = Tiles::kWarpRows / 16, kAcross = Tiles::kWarpColumns / 16;
  float c[kDown][2 * kAcross][4] = {};

  /// First row and column of this warp's part.
  static DEVICE_MEMBER int warp_row() { return warp() / Tiles::kWarpsAcross * Tiles::kWarpRows; }
  static DEVICE_MEMBER int warp_column() { return warp() % Tiles::kWarpsAcross * Tiles::kWarpColumns; }

  // The thread's elements by rows and columns: at(i, j) is element (row(i), column(j)) of the tile. kRowLanes neighbouring
  // lanes share their rows, and so do kRowParts warps, of which this is number row_part().
  static constexpr int kHeldRows = 2 * kDown, kHeldColumns = 4 * kAcross, kRowLanes = 4,
                       kRowParts = Tiles::kWarpsAcross;
  static DEVICE_MEMBER int row(int i) { return warp_row() + lane() / 4 + i * 8; }
  static DEVICE_MEMBER int column(int j) { return warp_column() + lane() % 4 * 2 + j / 2 * 8 + j % 2; }
  static DEVICE_MEMBER int row_part() { return warp() % Tiles::kWarpsAcross; }
  DEVICE_MEMBER float &at(int i, int j) { return c[i / 2][j / 2][i % 2 * 2 + j % 2]; }

  /// The tile, row by row, to shared memory: rows are 8 words apart (mod 32), so that pairs of four rows meet no bank twice.
  static constexpr int kStagedPitch = Tiles::template kStagedPitch<2>;
  DEVICE_MEMBER void stage(float *to) const {
    float *corner = to + (warp_row() + lane() / 4) * kStagedPitch + warp_column() + lane() % 4 * 2;
#pragma unroll
    for (int i = 0; i < kDown; i++) {
#pragma unroll
      for (int j = 0; j < 2 * kAcross; j++) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
          store_vector(reinterpret_cast<float2 *>(corner + (i * 16 + r * 8) * kStagedPitch + j * 8),
                       make_float2(c[i][j][2 * r], c[i][j][2 * r + 1]));
        }
      }
    }
  }
};

/// bf16.
template <class Tiles>
struct Accumulator<bf16, Tiles> : TensorAccumulator<Tiles> {
  using Base = TensorAccumulator<Tiles>;
  using Base::c, Base::kDown, Base::kAcross;

  /// 16 of the contraction, as mma takes them.
  struct Fragments {
    uint32_t a[kDown][4], b[kAcross][4];
  };
  template <class A, class B>
  static DEVICE_MEMBER void load(Fragments &f, const bf16 *a, const bf16 *b, int k) {
    const int row = Base::warp_row(), column = Base::warp_column();
#pragma unroll
    for (int i = 0; i < kDown; i++) {
      if constexpr (A::kAlong) {
        ldmatrix_x4(f.a[i], A::at(a, row + i * 16 + lane() % 16, k + lane() / 16 * 8));
      } else {
        ldmatrix_x4_transposed(f.a[i], A::at(a, row + i * 16 + lane() / 8 % 2 * 8, k + lane() / 16 * 8 + lane() % 8));
      }
    }
#pragma unroll
    for (int j = 0; j < kAcross; j++) {
      if constexpr (B::kAlong) {
        ldmatrix_x4(f.b[j], B::at(b, column + j * 16 + lane() / 16 * 8 + lane() % 8, k + lane() / 8 % 2 * 8));
      } else {
        ldmatrix_x4_transposed(f.b[j], B::at(b, column + j * 16 + lane() / 16 * 8, k + lane() % 16));
      }
    }
  }
  DEVICE_MEMBER void multiply(const Fragments &f) {
#pragma unroll
    for (int i = 0; i < kDown; i++) {
#pragma unroll
      for (int j = 0; j < kAcross; j++) {
        mma_bf16(c[i][2 * j], f.a[i], f.b[j][0], f.b[j][1]);
        mma_bf16(c[i][2 * j + 1], f.a[i], f.b[j][2], f.b[j][3]);
      }
    }
  }
  /// As multiply, but only what the mask keeps is added; the tile's first row and column are given.
  DEVICE_MEMBER void multiply_kept(const Fragments &f, const DropoutMask &mask, int64_t row, int64_t column) {
    static_assert(Tiles::kWarpColumns == 32);
#pragma unroll
    for (int i = 0; i < kDown; i++) {
      uint32_t keep[2];
#pragma unroll
      for (int r = 0; r < 2; r++) {
        keep[r] = mask.word(row + Base::warp_row() + i * 16 + r * 8 + lane() / 4, column + Base::warp_column()) >>
                  (lane() % 4 * 2);
      }
#pragma unroll
      for (int j = 0; j < 2 * kAcross; j++) {
        float part[4] = {};
        mma_bf16(part, f.a[i], f.b[j / 2][j % 2 * 2], f.b[j / 2][j % 2 * 2 + 1]);
#pragma unroll
        for (int r = 0; r < 4; r++) c[i][j][r] += keep[r / 2] >> (j * 8 + r % 2) & 1 ? part[r] : 0.0f;
      }
    }
  }
};

/// TF32. Along the contraction ldmatrix serves floats as well: what it takes for two elements of 16 bits is one.
template <class Tiles>
struct Accumulator<tf32, Tiles> : TensorAccumulator<Tiles> {
  using Base = TensorAccumulator<Tiles>;
  using Base::c, Base::kDown, Base::kAcross;

  /// 16 rows from `first` on (of A; columns of B) by 8 of the contraction: register r holds row lane / 4 + 8 (r % 2) at
  /// k + lane % 4 + 4 (r / 2).
  template <class Buffer>
  static DEVICE_MEMBER void load(uint32_t (&f)[4], const tf32 *tile, int first, int k) {
    if constexpr (Buffer::kAlong) {
      ldmatrix_x4(f, Buffer::at(tile, first + lane() % 16, k + lane() / 16 * 4));
#pragma unroll
      for (int r = 0; r < 4; r++) f[r] = round_tf32(__uint_as_float(f[r]));
    } else {
#pragma unroll
      for (int r = 0; r < 4; r++) {
        f[r] = round_tf32(Buffer::at(tile, first + lane() / 4 + r % 2 * 8, k + lane() % 4 + r / 2 * 4)->value);
      }
    }
  }
  template <class A, class B>
  DEVICE_MEMBER void multiply(const tf32 *a, const tf32 *b) {
#pragma unroll
    for (int k = 0; k < kStep; k += 8) {
      uint32_t x[kDown][4], y[kAcross][4];
#pragma unroll
      for (int i = 0; i < kDown; i++) load<A>(x[i], a, Base::warp_row() + i * 16, k);
#pragma unroll
      for (int j = 0; j < kAcross; j++) load<B>(y[j], b, Base::warp_column() + j * 16, k);
#pragma unroll
      for (int i = 0; i < kDown; i++) {
#pragma unroll
        for (int j = 0; j < kAcross; j++) {
          mma_tf32(c[i][2 * j], x[i], y[j][0], y[j][2]);
          mma_tf32(c[i][2 * j + 1], x[i], y[j][1], y[j][3]);
        }
      }
    }
  }
};

/// 8 x 4 elements a thread, apart from each other so that neighbours read and write neighbours.
template <>
struct Accumulator<float, SmallTiles> {
  float c[8][4] = {};

  static constexpr int kHeldRows = 8, kHeldColumns = 4, kRowLanes = 16, kRowParts = 1;
  static DEVICE_MEMBER int row(int i) { return threadIdx.x / 16 + i * 8; }
  static DEVICE_MEMBER int column(int j) { return threadIdx.x % 16 + j * 16; }
  static DEVICE_MEMBER int row_part() { return 0; }
  DEVICE_MEMBER float &at(int i, int j) { return c[i][j]; }

  template <class A, class B>
  DEVICE_MEMBER void multiply(const float *a, const float *b) {
    const int row = threadIdx.x / 16, column = threadIdx.x % 16;
#pragma unroll 1  // all of it would spill registers
    for (int k = 0; k < kStep; k += 4) {
      float x[8][4], y[4][4];
#pragma unroll
      for (int i = 0; i < 8; i++) read_four<A>(x[i], a, row + i * 8, k);
#pragma unroll
      for (int j = 0; j < 4; j++) read_four<B>(y[j], b, column + j * 16, k);
#pragma unroll
      for (int e = 0; e < 4; e++) {
#pragma unroll
        for (int i = 0; i < 8; i++) {
#pragma unroll
          for (int j = 0; j < 4; j++) c[i][j] += x[i][e] * y[j][e];
        }
      }
    }
  }
  /// As multiply, but only what the mask keeps is added; the tile's first row and column are given.
  template <class A, class B>
  DEVICE_MEMBER void multiply_kept(const float *a, const float *b, const DropoutMask &mask, int64_t row,
                                   int64_t column) {
    Accumulator part;
    part.template multiply<A, B>(a, b);
#pragma unroll
    for (int i = 0; i < 8; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const uint32_t keep = mask.word(row + threadIdx.x / 16 + i * 8, column + j / 2 * 32);
        c[i][j] += keep >> (threadIdx.x % 16 + j % 2 * 16) & 1 ? part.c[i][j] : 0.0f;
      }
    }
  }
  /// Four of the contraction: of a line along it by one access, since single ones of lanes eight lines apart meet in a bank.
  template <class Buffer>
  static DEVICE_MEMBER void read_four(float (&v)[4], const float *tile, int i, int k) {
    if constexpr (Buffer::kAlong) {
      const float4 four = load_vector(reinterpret_cast<const float4 *>(Buffer::at(tile, i, k)));
      v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
    } else {
#pragma unroll
      for (int e = 0; e < 4; e++) v[e] = *Buffer::at(tile, i, k + e);
    }
  }
  /// As above; rows of 16 neighbours are 16 words apart.
  static constexpr int kStagedPitch = SmallTiles::kStagedPitch<4>;
  DEVICE_MEMBER void stage(float *to) const {
    float *corner = to + threadIdx.x / 16 * kStagedPitch + threadIdx.x % 16;
#pragma unroll
    for (int i = 0; i < 8; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) corner[i * 8 * kStagedPitch + j * 16] = c[i][j];
    }
  }
};

/// Shared memory of a product.
template <class T, bool kAAlong, bool kBAlong, class Tiles>
struct ProductBuffers {
  using A = TileBuffer<T, kAAlong, Tiles::kRows, Tiles::kThreads>;
  using B = TileBuffer<T, kBAlong, Tiles::kColumns, Tiles::kThreads>;
  static constexpr int kStages = product_stages<Tiles>(sizeof(T));
  static constexpr int kStage = A::kSize + B::kSize;
  static constexpr int kSize = kStages * kStage;  // elements
};

/// Sources may know more than Operand: `mask(step)`, what of that step's products is added (DropoutMask), and `settle(tile, first,
/// k)`, called when the calling thread's copies of a tile have arrived and before others read it.
///
/// The tile of C whose first row and column are given; by the whole block of Tiles::kThreads. `shared`: as many elements as
/// ProductBuffers says, 16-byte aligned; free again at the end.
template <class T, bool kAAlong, bool kBAlong, class Tiles, class SourceA, class SourceB>
DEVICE Accumulator<T, Tiles> tile_product(const SourceA &a, const SourceB &b, int64_t first_row, int64_t first_column,
                                          T *shared) {
  using Buffers = ProductBuffers<T, kAAlong, kBAlong, Tiles>;
  using A = typename Buffers::A;
  using B = typename Buffers::B;
  constexpr int kStages = Buffers::kStages;
  const int steps = static_cast<int>((a.depth + kStep - 1) / kStep);
  auto stage = [&](int step) { return shared + step % kStages * Buffers::kStage; };
  auto copy = [&](int step) {
    if (step < steps) {
      a.template load<A>(stage(step), first_row, static_cast<int64_t>(step) * kStep);
      b.template load<B>(stage(step) + A::kSize, first_column, static_cast<int64_t>(step) * kStep);
    }
    cp_async_commit();  // an empty group keeps the count
  };
  // The operands of `step` have arrived, and the step before it is read by nobody any more.
  auto arrive = [&](int step) {
    cp_async_wait<kStages - 2>();
    if constexpr (requires { a.template settle<A>(shared, first_row, int64_t{}); }) {
      if (step < steps) a.template settle<A>(stage(step), first_row, static_cast<int64_t>(step) * kStep);
    }
    __syncthreads();
  };
  Accumulator<T, Tiles> sum;
  for (int step = 0; step < kStages - 1; step++) copy(step);
  arrive(0);
  if constexpr (sizeof(T) == 4) {
    for (int step = 0; step < steps; step++) {
      copy(step + kStages - 1);
      const T *x = stage(step), *y = stage(step) + A::kSize;
      if constexpr (requires { a.mask(step); }) {
        const DropoutMask mask = a.mask(step);
        if (mask.words) {
          sum.template multiply_kept<A, B>(x, y, mask, first_row, first_column);
        } else {
          sum.template multiply<A, B>(x, y);
        }
      } else {
        sum.template multiply<A, B>(x, y);
      }
      arrive(step + 1);
    }
  } else {
    typename Accumulator<T, Tiles>::Fragments f[2];
    auto multiply = [&](int step, int half) {
      if constexpr (requires { a.mask(step); }) {
        const DropoutMask mask = a.mask(step);
        if (mask.words) return sum.multiply_kept(f[half], mask, first_row, first_column);
      }
      sum.multiply(f[half]);
    };
    sum.template load<A, B>(f[0], stage(0), stage(0) + A::kSize, 0);
    for (int step = 0; step < steps; step++) {
      copy(step + kStages - 1);
      sum.template load<A, B>(f[1], stage(step), stage(step) + A::kSize, 16);
      multiply(step, 0);
      arrive(step + 1);
      if (step + 1 < steps) sum.template load<A, B>(f[0], stage(step + 1), stage(step + 1) + A::kSize, 0);
      multiply(step, 1);
    }
    __syncthreads();
  }
  return sum;
}

/// A small tile, with static shared memory.
template <class T, bool kAAlong, bool kBAlong>
DEVICE Accumulator<T> tile_product(const Operand<T> &a, const Operand<T> &b, int64_t first_row, int64_t first_column) {
  constexpr int kSize = ProductBuffers<T, kAAlong, kBAlong, SmallTiles>::kSize;
  SHARED(T, shared, [kSize]);
  return tile_product<T, kAAlong, kBAlong, SmallTiles>(a, b, first_row, first_column, shared);
}

/// use(row, column, values) for all of a tile by runs of kWidth columns, neighbours by neighbouring threads: what was in
/// fragments passes through `shared` (Tiles::kStagedBytes of it, 16-byte aligned).
template <int kWidth, class Tiles, class T, class Use>
DEVICE void for_each_run(const Accumulator<T, Tiles> &sum, float *shared, Use &&use) {
  constexpr int kPitch = Accumulator<T, Tiles>::kStagedPitch;
  static_assert(kWidth == 4 || kWidth == 8);
  sum.stage(shared);
  __syncthreads();
#pragma unroll 1
  for (int i = threadIdx.x; i < Tiles::kRows * Tiles::kColumns / kWidth; i += Tiles::kThreads) {
    const int row = i / (Tiles::kColumns / kWidth), column = i % (Tiles::kColumns / kWidth) * kWidth;
    const float *from = shared + row * kPitch + column;
    // Eight lanes read at a time. Of runs of 8 the latter four begin with the second half, which lies in the banks between.
    const bool second = kWidth == 8 && lane() / 4 % 2 == 1;
    const float4 a = load_vector(reinterpret_cast<const float4 *>(from + (second ? 4 : 0)));
    float values[kWidth] = {a.x, a.y, a.z, a.w};
    if constexpr (kWidth == 8) {
      const float4 b = load_vector(reinterpret_cast<const float4 *>(from + (second ? 0 : 4)));
      const float4 low = second ? b : a, high = second ? a : b;
      values[0] = low.x, values[1] = low.y, values[2] = low.z, values[3] = low.w;
      values[4] = high.x, values[5] = high.y, values[6] = high.z, values[7] = high.w;
    }
    use(row, column, values);
  }
}

}  // namespace rl::cuda
