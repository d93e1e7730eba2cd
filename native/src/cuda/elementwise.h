// What kernels bound by memory are made of: a thread takes a run, consecutive columns of a row that are 16 bytes of the widest
// dtype, with one access for each tensor. The threads of a warp so touch every sector of what they ask for, once. Where an
// address or a stride does not allow that, and at the end of a row, the same code takes single elements; each thread keeps its
// columns, so that the bits of a sum do not depend on alignment.
#pragma once

#include "cuda/op.h"

namespace rl::cuda {

constexpr int kRunThreads = 256;

#if defined(RL_KERNELS)

/// Elements of a run over tensors of these dtypes.
template <class T, class... More>
constexpr int kRunOf = kRunOf<T> < kRunOf<More...> ? kRunOf<T> : kRunOf<More...>;
template <class T>
constexpr int kRunOf<T> = 16 / static_cast<int>(sizeof(T));

/// How many columns a call takes.
template <int N>
struct Width {
  static constexpr int value = N;
};

template <int kBytes>
struct WordsOf;
template <>
struct WordsOf<4> {
  using Type = uint32_t;
};
template <>
struct WordsOf<8> {
  using Type = uint2;
};
template <>
struct WordsOf<16> {
  using Type = uint4;
};
/// An integer vector of the size of N elements.
template <class T, int N>
using Words = typename WordsOf<N *static_cast<int>(sizeof(T))>::Type;

DEVICE void unpack(uint32_t (&to)[1], uint32_t w) { to[0] = w; }
DEVICE void unpack(uint32_t (&to)[2], uint2 w) { to[0] = w.x, to[1] = w.y; }
DEVICE void unpack(uint32_t (&to)[4], uint4 w) { to[0] = w.x, to[1] = w.y, to[2] = w.z, to[3] = w.w; }
DEVICE uint32_t packed(const uint32_t (&w)[1]) { return w[0]; }
DEVICE uint2 packed(const uint32_t (&w)[2]) { return make_uint2(w[0], w[1]); }
DEVICE uint4 packed(const uint32_t (&w)[4]) { return make_uint4(w[0], w[1], w[2], w[3]); }

template <class T>
DEVICE float half_word(uint32_t bits) {
  if constexpr (std::is_same_v<T, bf16>) {
    return to_f32(__ushort_as_bfloat16(static_cast<unsigned short>(bits)));
  } else {
    return to_f32(__ushort_as_half(static_cast<unsigned short>(bits)));
  }
}

/// N elements as f32, 16 bytes at a time or all of them at once.
template <class T, int N>
DEVICE void read_run(float (&v)[N], const T *p) {
  if constexpr (N == 1) {
    v[0] = to_f32(*p);
  } else {
    constexpr int kAtOnce = N < kRunOf<T> ? N : kRunOf<T>;
#pragma unroll
    for (int from = 0; from < N; from += kAtOnce) {
      uint32_t words[kAtOnce * sizeof(T) / 4];
      unpack(words, load_vector(reinterpret_cast<const Words<T, kAtOnce> *>(p + from)));
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) {
        if constexpr (sizeof(T) == 4) {
          v[from + i] = __uint_as_float(words[i]);
        } else {
          v[from + i] = half_word<T>(words[i / 2] >> i % 2 * 16);
        }
      }
    }
  }
}
template <class T, int N>
DEVICE void write_run(T *p, const float (&v)[N]) {
  static_assert(N <= kRunOf<T>,
                "a thread writes 16 bytes of a tensor at most: 32 would leave every other sector to a second access");
  if constexpr (N == 1) {
    *p = from_f32<T>(v[0]);
  } else {
    uint32_t words[N * sizeof(T) / 4];
#pragma unroll
    for (int i = 0; i < N; i += static_cast<int>(4 / sizeof(T))) {
      if constexpr (sizeof(T) == 4) {
        words[i] = __float_as_uint(v[i]);
      } else {
        words[i / 2] = pack<T>(v[i], v[i + 1]);
      }
    }
    store_vector(reinterpret_cast<Words<T, N> *>(p), packed(words));
  }
}
/// The first `left` of N elements, the rest as zeros; by one access where `vectors` and all are there.
template <class T, int N>
DEVICE void read_part(float (&v)[N], const T *p, int64_t left, bool vectors) {
  if (vectors && left >= N) {
    read_run(v, p);
    return;
  }
#pragma unroll
  for (int i = 0; i < N; i++) v[i] = i < left ? to_f32(p[i]) : 0.0f;
}
template <class T, int N>
DEVICE void write_part(T *p, const float (&v)[N], int64_t left, bool vectors) {
  if (vectors && left >= N) {
    write_run(p, v);
    return;
  }
#pragma unroll
  for (int i = 0; i < N; i++) {
    if (i < left) p[i] = from_f32<T>(v[i]);
  }
}
/// The bits, whatever they mean.
template <int N, class T>
DEVICE void copy_run(T *to, const T *from) {
  if constexpr (N == 1) {
    *to = *from;
  } else {
    store_vector(reinterpret_cast<Words<T, N> *>(to), load_vector(reinterpret_cast<const Words<T, N> *>(from)));
  }
}

/// Whether each run of N that begins at a multiple of N can be read so. True of a tensor that was not given.
template <int N, class T>
DEVICE bool takes_runs(const T *p) {
  return reinterpret_cast<uintptr_t>(p) % (N < kRunOf<T> ? N * sizeof(T) : 16) == 0;
}
template <int N, class T>
DEVICE bool takes_runs(const View &v) {
  return takes_runs<N>(v.as<T>()) && (v.rows() <= 1 || v.row_stride() % (N < kRunOf<T> ? N : kRunOf<T>) == 0);
}

/// body(column, Width<N>) for the run at `column`, or body(c, Width<1>) for each of its columns.
template <int N, class Body>
DEVICE void visit_run(int64_t column, int64_t columns, bool vectors, Body &&body) {
  if (vectors && column + N <= columns) {
    body(column, Width<N>{});
    return;
  }
  const int64_t end = smaller(column + N, columns);
#pragma unroll 1
  for (int64_t c = column; c < end; c++) body(c, Width<1>{});
}

/// A thread for each run of a tensor of v's shape, in a grid by_run(): body(row, column, width).
template <int N, class Body>
DEVICE void for_each_run(const View &v, bool vectors, Body &&body) {
  const int64_t columns = v.cols(), across = (columns + N - 1) / N, i = thread_of_grid();
  // A division of 64 bits takes as long as a dozen runs.
  const bool small = static_cast<uint64_t>(i | across) >> 32 == 0;
  const int64_t row = small ? static_cast<uint32_t>(i) / static_cast<uint32_t>(across) : i / across;
  if (row >= v.rows()) return;
  visit_run<N>((i - row * across) * N, columns, vectors, [&](int64_t column, auto width) { body(row, column, width); });
}

/// The runs of one row among the threads of a block: body(column, width).
template <int N, class Body>
DEVICE void for_each_run_of_row(int64_t columns, bool vectors, Body &&body) {
  for (int64_t c = static_cast<int64_t>(threadIdx.x) * N; c < columns; c += static_cast<int64_t>(blockDim.x) * N) {
    visit_run<N>(c, columns, vectors, body);
  }
}

#else

/// Elements of a run over tensors of these dtypes.
inline int64_t run_length(std::initializer_list<int32_t> dtypes) {
  int64_t widest = 1;
  for (int32_t dtype : dtypes) widest = dtype_size(dtype) > widest ? dtype_size(dtype) : widest;
  return 16 / widest;
}

/// A thread for each run of a tensor of v's shape.
inline Grid by_run(const View &v, std::initializer_list<int32_t> dtypes) {
  return by_element(v.rows() * ceil_div(v.cols(), run_length(dtypes)), kRunThreads);
}

/// A block for each of `rows` rows, with a thread for each run of it, up to kRunThreads.
inline Grid by_row_of_runs(int64_t rows, int64_t columns, std::initializer_list<int32_t> dtypes) {
  const int64_t warps = ceil_div(ceil_div(columns, run_length(dtypes)), 32), most = kRunThreads / 32;
  return {rows, 1, static_cast<int>(32 * (warps < 1 ? 1 : smaller(warps, most)))};
}

#endif

}  // namespace rl::cuda
