// C = A B by tiles of 64 x 64: a block of four warps walks the contraction in steps of 32, the next step's operands being copied
// (cp.async) while this one's are multiplied. bf16 by tensor cores (mma.sync, ldmatrix), f32 by plain multiply-adds in f32.
// An operand may lie along the contraction (rows of k) or across it (k rows); padding of 16 bytes a row keeps shared memory
// without bank conflicts for ldmatrix.
#pragma once

#include "cuda/device_code.h"

namespace rl::cuda {

constexpr int kTile = 64, kStep = 32, kProductThreads = 128;

/// One operand of a product: element (i, k) is data[i * stride + k] if it lies along the contraction, else data[k * stride + i].
template <class T>
struct Operand {
  const T *data;
  int64_t stride;
  int64_t count;  // of i
  int64_t depth;  // of k
};

/// What one thread holds of a tile of C.
template <class T>
struct Accumulator;

/// Two buffers of a tile in shared memory, and how to fill them.
template <class T, bool kAlongK>
struct TileBuffer {
  static constexpr bool kAlong = kAlongK;
  static constexpr int kChunk = 16 / sizeof(T);  // elements of one asynchronous copy
  static constexpr int kLines = kAlong ? kTile : kStep, kWidth = kAlong ? kStep : kTile;
  static constexpr int kPitch = kWidth + kChunk;
  static constexpr int kSize = kLines * kPitch;

  /// Starts copying the tile of rows from `first` on and contraction from `k` on; what lies outside becomes zero.
  static DEVICE_MEMBER void load(T *tile, const Operand<T> &x, int64_t first, int64_t k) {
    const int64_t line0 = kAlong ? first : k, column0 = kAlong ? k : first;
    const int64_t lines = kAlong ? x.count : x.depth, columns = kAlong ? x.depth : x.count;
    const bool vectors = reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.stride % kChunk == 0;
    const T *aligned =
        x.data - reinterpret_cast<uintptr_t>(x.data) % 16 / sizeof(T);  // an address for what is not read
#pragma unroll 1                                                        // registers are for the products
    for (int i = threadIdx.x; i < kLines * kWidth / kChunk; i += kProductThreads) {
      const int l = i / (kWidth / kChunk), c = i % (kWidth / kChunk) * kChunk;
      const int64_t line = line0 + l, column = column0 + c;
      const bool inside = line < lines && column + kChunk <= columns, outside = line >= lines || column >= columns;
      T *to = tile + l * kPitch + c;
      if (outside || (inside && vectors)) {
        const T *from = inside ? x.data + line * x.stride + column : aligned;
        cp_async16(to, from, inside);
        continue;
      }
#pragma unroll 1
      for (int e = 0; e < kChunk; e++) {
        to[e] = column + e < columns ? x.data[line * x.stride + column + e] : from_f32<T>(0.0f);
      }
    }
  }
  static DEVICE_MEMBER const T *at(const T *tile, int i, int k) {
    return tile + (kAlong ? i * kPitch + k : k * kPitch + i);
  }
};

/// Tensor cores: warps 2 x 2, each 32 x 32 of the tile.
template <>
struct Accumulator<bf16> {
  float c[2][4][4] = {};

  // The thread's elements by rows and columns: at(i, j) is element (row(i), column(j)) of the tile. kRowLanes neighbouring
  // lanes share their rows, and so do kRowParts warps, of which this is number row_part().
  static constexpr int kHeldRows = 4, kHeldColumns = 8, kRowLanes = 4, kRowParts = 2;
  static DEVICE_MEMBER int row(int i) { return warp() / 2 * 32 + lane() / 4 + i * 8; }
  static DEVICE_MEMBER int column(int j) { return warp() % 2 * 32 + lane() % 4 * 2 + j / 2 * 8 + j % 2; }
  static DEVICE_MEMBER int row_part() { return warp() % 2; }
  DEVICE_MEMBER float &at(int i, int j) { return c[i / 2][j / 2][i % 2 * 2 + j % 2]; }

  template <class A, class B>
  DEVICE_MEMBER void multiply(const bf16 *a, const bf16 *b) {
    const int row = warp() / 2 * 32, column = warp() % 2 * 32;
#pragma unroll
    for (int k = 0; k < kStep; k += 16) {
      uint32_t fa[2][4];
#pragma unroll
      for (int i = 0; i < 2; i++) {
        if constexpr (A::kAlong) {
          ldmatrix_x4(fa[i], A::at(a, row + i * 16 + lane() % 16, k + lane() / 16 * 8));
        } else {
          ldmatrix_x4_transposed(fa[i], A::at(a, row + i * 16 + lane() / 8 % 2 * 8, k + lane() / 16 * 8 + lane() % 8));
        }
      }
#pragma unroll
      for (int j = 0; j < 2; j++) {
        uint32_t fb[4];
        if constexpr (B::kAlong) {
          ldmatrix_x4(fb, B::at(b, column + j * 16 + lane() / 16 * 8 + lane() % 8, k + lane() / 8 % 2 * 8));
        } else {
          ldmatrix_x4_transposed(fb, B::at(b, column + j * 16 + lane() / 16 * 8, k + lane() % 16));
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
          mma_bf16(c[i][2 * j], fa[i], fb[0], fb[1]);
          mma_bf16(c[i][2 * j + 1], fa[i], fb[2], fb[3]);
        }
      }
    }
  }
  /// use(row, column, value) for every element of the tile that this thread holds.
  template <class Use>
  DEVICE_MEMBER void for_each(Use &&use) const {
    const int row = warp() / 2 * 32 + lane() / 4, column = warp() % 2 * 32 + lane() % 4 * 2;
#pragma unroll
    for (int i = 0; i < 2; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) {
#pragma unroll
        for (int r = 0; r < 4; r++) use(row + i * 16 + r / 2 * 8, column + j * 8 + r % 2, c[i][j][r]);
      }
    }
  }
};

/// 8 x 4 elements a thread, apart from each other so that neighbours read and write neighbours.
template <>
struct Accumulator<float> {
  float c[8][4] = {};

  static constexpr int kHeldRows = 8, kHeldColumns = 4, kRowLanes = 16, kRowParts = 1;
  static DEVICE_MEMBER int row(int i) { return threadIdx.x / 16 + i * 8; }
  static DEVICE_MEMBER int column(int j) { return threadIdx.x % 16 + j * 16; }
  static DEVICE_MEMBER int row_part() { return 0; }
  DEVICE_MEMBER float &at(int i, int j) { return c[i][j]; }

  template <class A, class B>
  DEVICE_MEMBER void multiply(const float *a, const float *b) {
    const int row = threadIdx.x / 16, column = threadIdx.x % 16;
#pragma unroll 4  // all of it would spill registers
    for (int k = 0; k < kStep; k++) {
      float x[8], y[4];
#pragma unroll
      for (int i = 0; i < 8; i++) x[i] = *A::at(a, row + i * 8, k);
#pragma unroll
      for (int j = 0; j < 4; j++) y[j] = *B::at(b, column + j * 16, k);
#pragma unroll
      for (int i = 0; i < 8; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) c[i][j] += x[i] * y[j];
      }
    }
  }
  template <class Use>
  DEVICE_MEMBER void for_each(Use &&use) const {
    const int row = threadIdx.x / 16, column = threadIdx.x % 16;
#pragma unroll
    for (int i = 0; i < 8; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) use(row + i * 8, column + j * 16, c[i][j]);
    }
  }
};

/// Shared memory of a product.
template <class T, bool kAAlong, bool kBAlong>
struct ProductBuffers {
  using A = TileBuffer<T, kAAlong>;
  using B = TileBuffer<T, kBAlong>;
  static constexpr int kSize = 2 * (A::kSize + B::kSize);  // elements
};

/// The tile of C whose first row and column are given; by the whole block of kProductThreads. `shared`: as many elements as
/// ProductBuffers says, 16-byte aligned; free again at the end.
template <class T, bool kAAlong, bool kBAlong>
DEVICE Accumulator<T> tile_product(const Operand<T> &a, const Operand<T> &b, int64_t first_row, int64_t first_column,
                                   T *shared) {
  using A = TileBuffer<T, kAAlong>;
  using B = TileBuffer<T, kBAlong>;
  T *sa = shared, *sb = shared + 2 * A::kSize;
  const int64_t steps = (a.depth + kStep - 1) / kStep;
  auto load = [&](int64_t step) {
    A::load(sa + step % 2 * A::kSize, a, first_row, step * kStep);
    B::load(sb + step % 2 * B::kSize, b, first_column, step * kStep);
    cp_async_commit();
  };
  Accumulator<T> sum;
  load(0);
  for (int64_t step = 0; step < steps; step++) {
    if (step + 1 < steps) {
      load(step + 1);
      cp_async_wait<1>();
    } else {
      cp_async_wait<0>();
    }
    __syncthreads();
    sum.template multiply<A, B>(sa + step % 2 * A::kSize, sb + step % 2 * B::kSize);
    __syncthreads();  // the buffer is free for the step after the next
  }
  return sum;
}

/// With static shared memory.
template <class T, bool kAAlong, bool kBAlong>
DEVICE Accumulator<T> tile_product(const Operand<T> &a, const Operand<T> &b, int64_t first_row, int64_t first_column) {
  constexpr int kSize = ProductBuffers<T, kAAlong, kBAlong>::kSize;
  SHARED(T, shared, [kSize]);
  return tile_product<T, kAAlong, kBAlong>(a, b, first_row, first_column, shared);
}

}  // namespace rl::cuda
