// What the attention kernels share. A block of four warps owns rows of queries (or keys) of one head of one sequence and walks over
// tiles of the other side. Each warp owns some of the rows whole, so that softmax and sums stay within a warp, and what one product
// makes is the other's operand where it is, in registers:
//   multiply_rows     s [rows, n]  = x [rows, D] y [n, D]^T      scores
//   multiply_columns  o [rows, D] += p [rows, n] y [n, D]        weighted sums of rows
// bf16 and f16 by tensor cores (mma.sync, ldmatrix), f32 by plain multiply-adds. The head size d is padded by zeros to the next
// instance, D. Rows in shared memory are 16 bytes longer than D elements, an odd multiple of 16: no bank conflicts for ldmatrix.
#pragma once

#include "dispatch/view.h"

namespace rl::cuda {

/// Elements from row to row of what is laid aside: four rows of eight columns lie in different banks.
RL_ANYWHERE constexpr int aside_pitch(int columns) { return columns | 8; }

constexpr int kAttentionThreads = 128, kAttentionWarps = kAttentionThreads / 32;
constexpr int kAttentionShared = 99 * 1024;  // bytes that every GPU from 8.0 on gives a block

/// How a kernel is cut up for elements of `size` bytes and a (padded) head size D.
struct AttentionTiles {
  int size, D;
  int tiles;   // rows of a warp: tiles of 16 for bf16 and f16, of 4 for f32
  int others;  // rows of the other side that are multiplied at a time

  RL_ANYWHERE constexpr int warp_rows() const { return tiles * (size == 2 ? 16 : 4); }
  RL_ANYWHERE constexpr int rows() const { return warp_rows() * kAttentionWarps; }
  RL_ANYWHERE constexpr int pitch() const { return D + 16 / size; }
  /// Elements that a warp lays aside to make an operand of what it holds: f32 only, tensor cores take registers.
  RL_ANYWHERE constexpr int aside() const { return size == 2 ? 0 : warp_rows() * aside_pitch(others); }
  /// Bytes for `own` matrices of the block's rows, and two of the other side twice: one is copied while one is in use.
  RL_ANYWHERE constexpr int shared(int own) const {
    return size * (pitch() * (own * rows() + 4 * others) + kAttentionWarps * aside());
  }
};

}  // namespace rl::cuda

/// Expands ENTRY(dtype, D) for every instance.
#define FOR_HEAD_SIZES(ENTRY)         \
  ENTRY(bf16, 32)                     \
  FOR_HEADS_OF_64_TO_128(bf16, ENTRY) \
  ENTRY(bf16, 256)                    \
  ENTRY(f32, 32)                      \
  ENTRY(f32, 64)                      \
  ENTRY(f32, 128)                     \
  ENTRY(f32, 256)                     \
  FOR_HEADS_OF_64_TO_128(f16, ENTRY)
#define FOR_HEADS_OF_64_TO_128(T, ENTRY) ENTRY(T, 64) ENTRY(T, 80) ENTRY(T, 96) ENTRY(T, 128)

#if defined(RL_KERNELS)

#include "cuda/device_code.h"

namespace rl::cuda {

constexpr float kLog2e = 1.44269504088896341f, kLn2 = 0.693147180559945309f;

/// The rows of one head of a tensor [T,heads,d].
template <class T>
struct HeadRows {
  const View &x;
  int64_t head;

  DEVICE_MEMBER int width() const { return static_cast<int>(x.shape[2]); }
  DEVICE_MEMBER T *row(int t) const { return x.row<T>(t) + head * x.shape[2]; }
};

/// Starts copying rows [first, first + kRows) to shared memory, by the whole block; zeros from row `end` and column d on.
/// vectors: see whole_vectors.
template <int kRows, int D, class T>
DEVICE void copy_rows(T *tile, const HeadRows<T> &x, bool vectors, int first, int end) {
  constexpr int kChunk = 16 / sizeof(T), kAcross = D / kChunk, kPitch = D + kChunk;
  constexpr int kAtOnce = kAttentionThreads / kAcross;
  const int c = threadIdx.x % kAcross * kChunk, left = x.width() - c;
  int r = threadIdx.x / kAcross;
  if (r >= kAtOnce) return;  // threads that are no whole row
  const T *from = x.row(first + r) + c;
  T *to = tile + r * kPitch + c;
  if (vectors) {
#pragma unroll 2  // more takes registers from the products
    for (; r < kRows; r += kAtOnce, from += kAtOnce * x.x.row_stride(), to += kAtOnce * kPitch) {
      const bool inside = first + r < end && left > 0;
      cp_async16(to, inside ? static_cast<const void *>(from) : x.x.data, inside);
    }
    return;
  }
#pragma unroll 1
  for (; r < kRows; r += kAtOnce, from += kAtOnce * x.x.row_stride(), to += kAtOnce * kPitch) {
    const bool inside = first + r < end;
#pragma unroll 1
    for (int e = 0; e < kChunk; e++) to[e] = inside && e < left ? from[e] : from_f32<T>(0.0f);
  }
}

/// What a warp holds of a matrix of its rows and N columns: each lane has kRows of the rows, and of each kColumns of the columns;
/// kLanes neighbours share a row. kSums: a result of multiply_columns, else of multiply_rows. T of 16 bits: as an mma leaves it.
template <class T, int kTiles, int N, bool kSums = false>
struct WarpTile {
  static_assert(sizeof(T) == 2);
  static constexpr int kRows = 2 * kTiles, kColumns = N / 4, kLanes = 4;
  float c[kTiles][N / 8][4] = {};

  DEVICE_MEMBER float &at(int i, int j) { return c[i / 2][j / 2][i % 2 * 2 + j % 2]; }
  static DEVICE_MEMBER int row(int i) { return i / 2 * 16 + lane() / 4 + i % 2 * 8; }
  static DEVICE_MEMBER int column(int j) { return j / 2 * 8 + lane() % 4 * 2 + j % 2; }
};

template <class T, int kTiles, int D>
using WarpSums = WarpTile<T, kTiles, D, true>;

template <int kTiles, int N, bool kSums>
struct WarpTile<float, kTiles, N, kSums> {
  static constexpr int kRows = kTiles, kColumns = N / 8, kLanes = 8;
  float c[kTiles][N / 8] = {};

  DEVICE_MEMBER float &at(int i, int j) { return c[i][j]; }
  static DEVICE_MEMBER int row(int i) { return i * 4 + lane() / 8; }
  static DEVICE_MEMBER int column(int j) {
    return kSums ? j / 4 * 32 + lane() % 8 * 4 + j % 4 : j * 8 + lane() % 8;  // sums by vectors of four
  }
};

/// s += x y^T: x are the warp's rows in shared memory, y the N rows of the other side, both of D columns. kUnroll: steps of 16
/// columns that are unrolled on tensor cores; fewer take fewer registers.
template <int D, int kUnroll = D / 16, class T, int kTiles, int N>
  requires(sizeof(T) == 2)
DEVICE void multiply_rows(WarpTile<T, kTiles, N> &s, const T *x, const T *y) {
  constexpr int kPitch = D + 8;
  const T *a_lane = x + lane() % 16 * kPitch + lane() / 16 * 8;
  const T *b_lane = y + (lane() / 16 * 8 + lane() % 8) * kPitch + lane() / 8 % 2 * 8;
#pragma unroll kUnroll
  for (int k = 0; k < D; k += 16) {
    uint32_t a[kTiles][4];
#pragma unroll
    for (int i = 0; i < kTiles; i++) ldmatrix_x4(a[i], a_lane + i * 16 * kPitch + k);
#pragma unroll
    for (int j = 0; j < N / 16; j++) {
      uint32_t b[4];
      ldmatrix_x4(b, b_lane + j * 16 * kPitch + k);
#pragma unroll
      for (int i = 0; i < kTiles; i++) {
        mma<T>(s.c[i][2 * j], a[i], b[0], b[1]);
        mma<T>(s.c[i][2 * j + 1], a[i], b[2], b[3]);
      }
    }
  }
}

/// o += p y: y are N rows of D columns in shared memory. The accumulator of one product is, rounded, the operand of the next.
template <int D, class T, int kTiles, int N>
  requires(sizeof(T) == 2)
DEVICE void multiply_columns(WarpSums<T, kTiles, D> &o, const WarpTile<T, kTiles, N> &p, const T *y, T *) {
  constexpr int kPitch = D + 8;
  const T *b_lane = y + lane() % 16 * kPitch + lane() / 16 * 8;
#pragma unroll
  for (int k = 0; k < N / 16; k++) {
    uint32_t a[kTiles][4];
#pragma unroll
    for (int i = 0; i < kTiles; i++) {
#pragma unroll
      for (int r = 0; r < 4; r++) {
        const float *pair = &p.c[i][2 * k + r / 2][r % 2 * 2];
        a[i][r] = pack<T>(pair[0], pair[1]);
      }
    }
#pragma unroll
    for (int j = 0; j < D / 16; j++) {
      uint32_t b[4];
      ldmatrix_x4_transposed(b, b_lane + k * 16 * kPitch + j * 16);
#pragma unroll
      for (int i = 0; i < kTiles; i++) {
        mma<T>(o.c[i][2 * j], a[i], b[0], b[1]);
        mma<T>(o.c[i][2 * j + 1], a[i], b[2], b[3]);
      }
    }
  }
}

template <int D, int kUnroll = 1, int kTiles, int N>
DEVICE void multiply_rows(WarpTile<float, kTiles, N> &s, const float *x, const float *y) {
  constexpr int kPitch = D + 4;
#pragma unroll 1  // all of it would spill registers
  for (int k = 0; k < D; k += 4) {
    float4 a[kTiles];
#pragma unroll
    for (int i = 0; i < kTiles; i++) {
      a[i] = load_vector(reinterpret_cast<const float4 *>(x + s.row(i) * kPitch + k));
    }
#pragma unroll
    for (int j = 0; j < N / 8; j++) {
      const float4 b = load_vector(reinterpret_cast<const float4 *>(y + s.column(j) * kPitch + k));
#pragma unroll
      for (int i = 0; i < kTiles; i++) {
        s.c[i][j] += a[i].x * b.x;
        s.c[i][j] += a[i].y * b.y;
        s.c[i][j] += a[i].z * b.z;
        s.c[i][j] += a[i].w * b.w;
      }
    }
  }
}

template <int D, int kTiles, int N>
DEVICE void multiply_columns(WarpSums<float, kTiles, D> &o, const WarpTile<float, kTiles, N> &p, const float *y,
                             float *aside) {
  constexpr int kPitch = D + 4, kAside = aside_pitch(N);
  __syncwarp();  // what was aside before has been read
#pragma unroll
  for (int i = 0; i < kTiles; i++) {
#pragma unroll
    for (int j = 0; j < N / 8; j++) aside[p.row(i) * kAside + p.column(j)] = p.c[i][j];
  }
  __syncwarp();
#pragma unroll 1
  for (int k = 0; k < N; k += 4) {
    float a[kTiles][4];
#pragma unroll
    for (int i = 0; i < kTiles; i++) {
      const float4 v = load_vector(reinterpret_cast<const float4 *>(aside + p.row(i) * kAside + k));
      a[i][0] = v.x;
      a[i][1] = v.y;
      a[i][2] = v.z;
      a[i][3] = v.w;
    }
#pragma unroll
    for (int l = 0; l < 4; l++) {
#pragma unroll
      for (int j = 0; j < D / 8; j += 4) {
        const float4 b = load_vector(reinterpret_cast<const float4 *>(y + (k + l) * kPitch + o.column(j)));
#pragma unroll
        for (int i = 0; i < kTiles; i++) {
          o.c[i][j] += a[i][l] * b.x;
          o.c[i][j + 1] += a[i][l] * b.y;
          o.c[i][j + 2] += a[i][l] * b.z;
          o.c[i][j + 3] += a[i][l] * b.w;
        }
      }
    }
  }
}

/// Rows [first, end) of `out` = the warp's rows times `factor`, staged in `tile` (the warp's own rows in shared memory, no longer
/// used by itself) so that global memory sees vectors of 16 bytes.
template <int D, class T, int kTiles>
DEVICE void store_rows(const HeadRows<T> &out, bool vectors, WarpSums<T, kTiles, D> &x,
                       const float (&factor)[WarpSums<T, kTiles, D>::kRows], T *tile, int first, int end) {
  constexpr int kChunk = 16 / sizeof(T), kAcross = D / kChunk, kPitch = D + kChunk;
  using Tile = WarpSums<T, kTiles, D>;
  constexpr int kWarpRows = Tile::kRows * 32 / Tile::kLanes;
  __syncwarp();
#pragma unroll
  for (int i = 0; i < Tile::kRows; i++) {
    T *row = tile + Tile::row(i) * kPitch;
    if constexpr (sizeof(T) == 2) {
#pragma unroll
      for (int j = 0; j < Tile::kColumns; j += 2) {
        store_vector(reinterpret_cast<uint32_t *>(row + Tile::column(j)),
                     pack<T>(x.at(i, j) * factor[i], x.at(i, j + 1) * factor[i]));
      }
    } else {
#pragma unroll
      for (int j = 0; j < Tile::kColumns; j += 4) {
        const float4 v{x.at(i, j) * factor[i], x.at(i, j + 1) * factor[i], x.at(i, j + 2) * factor[i],
                       x.at(i, j + 3) * factor[i]};
        store_vector(reinterpret_cast<float4 *>(row + Tile::column(j)), v);
      }
    }
  }
  __syncwarp();
#pragma unroll 1
  for (int i = lane(); i < kWarpRows * kAcross; i += 32) {
    const int r = i / kAcross, c = i % kAcross * kChunk;
    if (first + r >= end || c >= out.width()) continue;
    const T *from = tile + r * kPitch + c;
    T *to = out.row(first + r) + c;
    if (vectors) {
      store_vector(reinterpret_cast<uint4 *>(to), load_vector(reinterpret_cast<const uint4 *>(from)));
    } else {
#pragma unroll 1
      for (int e = 0; e < kChunk && c + e < out.width(); e++) to[e] = from[e];
    }
  }
}

/// Rows [begin, end) of a sequence, the first of a block's rows in it, and its number. Nothing is to be done if first >= end.
struct RowsOfSequence {
  int begin, end, first, sequence;
};

/// The lengths are on the GPU: sequence b is given the blocks from cu[b] / rows + b on, at least as many as it needs, and so
/// total / rows + sequences blocks serve all; those that find no row leave.
DEVICE RowsOfSequence rows_of_block(const View &cu, int64_t total, int rows, int64_t block) {
  const int32_t *starts = cu.i32();
  int64_t b = 0, after = cu.elements() - 1;
  while (after - b > 1) {
    const int64_t middle = (b + after) / 2;
    (clamp_index(starts[middle], total) / rows + middle <= block ? b : after) = middle;
  }
  const Span s = span(starts, b, total);
  const int64_t tile = block - (s.begin / rows + b);
  const int64_t first = tile < 0 ? s.end : smaller(s.begin + tile * rows, s.end);
  return {static_cast<int>(s.begin), static_cast<int>(s.end), static_cast<int>(first), static_cast<int>(b)};
}

/// Leaves `p` at the keys that a query sees: j <= i and j > i - window. kQueriesAcross: queries are columns, else rows.
/// distance: the first query of the tile minus the first key.
template <bool kQueriesAcross, class Tile>
DEVICE void mask(Tile &p, int distance, int window, float masked) {
#pragma unroll
  for (int i = 0; i < Tile::kRows; i++) {
#pragma unroll
    for (int j = 0; j < Tile::kColumns; j++) {
      const int back = distance + (kQueriesAcross ? p.column(j) - p.row(i) : p.row(i) - p.column(j));
      if (back < 0 || back >= window) p.at(i, j) = masked;
    }
  }
}

}  // namespace rl::cuda

#else

namespace rl::cuda {

/// The blocks that rows_of_block asks for.
inline int64_t attention_blocks(const AttentionTiles &tiles, const View &x, const View &cu) {
  return x.rows() / tiles.rows() + cu.elements() - 1;
}

/// Whether every row of every head is whole vectors of 16 bytes.
template <class... Views>
bool whole_vectors(const Views &...views) {
  auto whole = [](const View &x) {
    const int64_t chunk = 16 / dtype_size(x.dtype);
    return reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.row_stride() % chunk == 0 && x.shape[2] % chunk == 0;
  };
  return (whole(views) && ...);
}

/// The window, where 0 (none) is one that nothing lies outside of.
inline int32_t finite_window(int32_t window, const View &q) {
  return window == 0 || window > q.rows() ? static_cast<int32_t>(q.rows()) : window;
}

/// The instance for a head size.
inline int padded_head(int32_t dtype, int64_t d) {
  auto there = [dtype](int padded) {
    if (dtype == RL_F32) return padded != 80 && padded != 96;
    return dtype == RL_BF16 || (padded != 32 && padded != 256);
  };
  int most = 0;
  for (int padded : {32, 64, 80, 96, 128, 256}) {
    if (!there(padded)) continue;
    if (d <= padded) return padded;
    most = padded;
  }
  fail(RL_UNSUPPORTED, "heads of %lld: this backend has kernels for up to %d%s", static_cast<long long>(d), most,
       dtype == RL_F16 ? " in f16" : "");
}

/// Such as attention_bf16_64.
inline std::string attention_kernel(const char *name, int32_t dtype, int D) {
  return kernel_name(name, {dtype}) + "_" + std::to_string(D);
}

}  // namespace rl::cuda

#endif
