// C (=, or +=) A B + bias for whole matrices: tiles of tile_product.h, chosen by the shape, written in runs of 16 bytes.
// Where a weight's gradient has too few tiles to fill a GPU and many rows to add up, these are cut into parts, whose sums a second
// kernel adds up in their order (kernels/linear.cu). The cut depends on nothing but the shape, so bits do not vary.
// Traffic: each element of A is read once for each column of tiles, of B for each row of tiles (from the second-level cache:
// tiles that share operands run at the same time), C once.
#pragma once

#include "cuda/elementwise.h"
#include "cuda/tiles.h"

#if defined(RL_KERNELS)
#include "cuda/tile_product.h"
#endif

namespace rl::cuda {

/// One product cut along its contraction. sums: f32 [parts, rows, columns]; null if there is one part only.
struct Parts {
  float *sums;
  int64_t count;
  int64_t depth;  // of each but the last
};

#if defined(RL_KERNELS)

/// Writes runs of C.
template <class Out>
struct Result {
  static constexpr int kRun = 16 / sizeof(Out);
  View c, bias;
  bool accumulate, vectors;

  DEVICE_MEMBER Result(const View &c, const View &bias, bool accumulate)
      : c(c),
        bias(bias),
        accumulate(accumulate),
        vectors(reinterpret_cast<uintptr_t>(c.data) % 16 == 0 && c.row_stride() % kRun == 0) {}

  DEVICE_MEMBER void write(int64_t row, int64_t column, float (&values)[kRun]) const {
    if (row >= c.rows() || column >= c.cols()) return;
    const bool whole = column + kRun <= c.cols();
    if (bias) {
#pragma unroll
      for (int v = 0; v < kRun; v++) {
        if (whole || column + v < c.cols()) values[v] += bias.f32()[column + v];
      }
    }
    Out *out = c.row<Out>(row) + column;
    if (vectors && whole) {
      if (accumulate) {
        float before[kRun];
        read_run(before, out);
#pragma unroll
        for (int v = 0; v < kRun; v++) values[v] += before[v];
      }
      write_run(out, values);
      return;
    }
#pragma unroll
    for (int v = 0; v < kRun; v++) {
      if (column + v < c.cols()) out[v] = from_f32<Out>(accumulate ? to_f32(out[v]) + values[v] : values[v]);
    }
  }
};

/// The tile of a block: columns of eight tiles one after the other, so that what runs at the same time is about square.
struct Place {
  int64_t row, column;
};
template <class Tiles>
DEVICE Place place_of_block(int64_t rows, int64_t columns) {
  constexpr int kGroup = 8;
  const int down = static_cast<int>((rows + Tiles::kRows - 1) / Tiles::kRows);
  const int across = static_cast<int>((columns + Tiles::kColumns - 1) / Tiles::kColumns);
  const int block = static_cast<int>(blockIdx.x), group = block / (kGroup * across), rest = block % (kGroup * across);
  const int height = down - group * kGroup < kGroup ? down - group * kGroup : kGroup;
  return {static_cast<int64_t>(group * kGroup + rest % height) * Tiles::kRows,
          static_cast<int64_t>(rest / height) * Tiles::kColumns};
}

/// For a grid of tiles x parts.
template <class Out, class T, class Tiles, bool kAAlong, bool kBAlong>
DEVICE void matrix_product(const View &c, const Operand<T> &a, const Operand<T> &b, const View &bias, bool accumulate,
                           const Parts &parts) {
  SHARED_DYNAMIC(shared);
  const Place place = place_of_block<Tiles>(c.rows(), c.cols());
  const int64_t part = blockIdx.y, from = part * parts.depth;
  Accumulator<T, Tiles> sum = tile_product<T, kAAlong, kBAlong, Tiles>(
      a.template part<kAAlong>(from, parts.depth), b.template part<kBAlong>(from, parts.depth), place.row, place.column,
      reinterpret_cast<T *>(shared));
  float *staged = reinterpret_cast<float *>(shared);
  if (parts.sums) {
    View to = c;
    to.data = parts.sums + part * c.rows() * c.cols();
    to.stride[0] = c.cols();
    constexpr int kRun = Result<float>::kRun;
    const Result<float> result(to, View{}, false);
    for_each_run<kRun>(sum, staged, [&](int i, int j, float(&values)[kRun]) {
      result.write(place.row + i, place.column + j, values);
    });
    return;
  }
  constexpr int kRun = Result<Out>::kRun;
  const Result<Out> result(c, bias, accumulate);
  for_each_run<kRun>(
      sum, staged, [&](int i, int j, float(&values)[kRun]) { result.write(place.row + i, place.column + j, values); });
}

/// c += the parts. A thread for each run of c, which is f32.
DEVICE void sum_parts(const View &c, const Parts &parts) {
  constexpr int kRun = Result<float>::kRun;
  const int64_t runs = (c.cols() + kRun - 1) / kRun, i = thread_of_grid();
  const int64_t row = i / runs, column = i % runs * kRun, size = c.rows() * c.cols();
  if (row >= c.rows()) return;
  const Result<float> result(c, View{}, true);
  const float *from = parts.sums + row * c.cols() + column;
  float values[kRun] = {};
  for (int64_t p = 0; p < parts.count; p++) {
#pragma unroll
    for (int v = 0; v < kRun; v++) {
      if (column + v < c.cols()) values[v] += from[p * size + v];
    }
  }
  result.write(row, column, values);
}

#else

/// How a product is cut.
struct Cut {
  const char *tiles;  // the ending of the kernel's name
  Grid grid;
  int64_t parts, depth;
};

/// The choice of tiles: large ones where they fill a GPU (about a block for each multiprocessor), else small ones. The gradient of
/// a weight is cut into parts where even these are few. Products of activations are not: their rows' bits would then depend on how
/// many rows there are, and the ratio of PPO starts at exactly 1 because they do not.
inline Cut cut_product(const Gemm &gemm, bool tensor_cores) {
  const int64_t rows = gemm.rows(), columns = gemm.columns(), depth = gemm.depth();
  const bool a_along = gemm.a_along, b_along = gemm.b_along;
  const int size = static_cast<int>(dtype_size(gemm.a.dtype));
  auto cut = [&](const char *name, auto tiles) {
    using Tiles = decltype(tiles);
    constexpr int64_t kEnough = 128;
    const int64_t blocks = ceil_div(rows, Tiles::kRows) * ceil_div(columns, Tiles::kColumns);
    const int64_t most = a_along || blocks == 0 ? 1 : smaller(16, smaller(depth / 256, kEnough / blocks));
    const int64_t each = ceil_div(ceil_div(depth, kStep), most < 1 ? 1 : most);
    const int64_t parts = each == 0 ? 1 : ceil_div(ceil_div(depth, kStep), each);
    return Cut{name, Grid{blocks, parts, Tiles::kThreads, product_bytes<Tiles>(a_along, b_along, size)}, parts,
               each * kStep};
  };
  if (!tensor_cores) return cut("", SmallTiles{});
  const Cut large = cut("_large", LargeTiles{});
  return large.grid.blocks >= 96 ? large : cut("", SmallTiles{});
}

/// Whether the options give a product of these activations to tensor cores as TF32.
inline bool takes_tf32(const CudaDevice &device, const View &a) { return a.dtype == RL_F32 && device.options().tf32; }

/// From so many multiply-adds on a library takes a product. A model: a GPU does them in some 4 us (an H100 in bf16), which is what
/// a launch takes; below it a library gains little, and our tiles keep a row's bits whatever the number of rows. To be measured.
constexpr double kLibraryProduct = 1 << 30;

/// Launches NAME or NAME_large with the dtypes of c and a (tf32 for f32 if the options say so), or has a library make the product (docs/decisions/013-libraries.md).
inline void launch_product(CudaDevice &device, const std::string &name, const View &c, const View &a, bool a_along,
                           const View &b, bool b_along, const View &bias, bool accumulate) {
  const Gemm gemm{c, a, a_along, b, b_along, bias, accumulate};
  const bool always = device.options().gemm == Options::Gemm::cublaslt;
  if ((always || gemm.multiply_adds() >= kLibraryProduct) && device.multiply_by_library(gemm, always)) {
    return;
  }
  const bool tf32 = takes_tf32(device, a);
  const Cut cut = cut_product(gemm, a.dtype != RL_F32 || tf32);
  const Parts parts{cut.parts > 1 ? device.scratch<float>(cut.parts * c.elements()) : nullptr, cut.parts, cut.depth};
  const int32_t add = accumulate;
  const std::string tiles = name + cut.tiles;
  const std::string kernel =
      tf32 ? kernel_name(tiles.c_str(), {c.dtype}) + "_tf32" : kernel_name(tiles.c_str(), {c.dtype, a.dtype});
  device.launch(kernel, cut.grid, c, a, b, bias, add, parts);
  if (cut.parts == 1) return;
  constexpr int kThreads = 128;
  device.launch("sum_parts_f32", by_element(c.rows() * ceil_div(c.cols(), 4), kThreads), c, parts);
}

#endif

}  // namespace rl::cuda
