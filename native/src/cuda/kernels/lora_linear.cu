// By segments of rows, each through one adapter (a [r,K], b [N,r], f32):  h = drop(x) a^T  (=),  y += scale h b^T.
// Backward, with gh = gradY b:  gradX += scale (gh a) * mask,  gradA += scale gh^T drop(x),  gradB += scale gradY^T h.
// Plain multiply-adds, a launch for each segment; the adapter is read from the cache again for each row. Tensor cores, and one
// launch together with the base product, are still to come. Sums over rows run in their order in one thread: no atomics.
#include "cuda/op.h"
#if defined(RL_KERNELS)
#include "cuda/dropout.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 128;
constexpr int kMostRanks = 512;  // rlhf4j.h

struct Segment {
  int64_t begin, end;
  float scale;
  View a, b;
};

#if defined(RL_KERNELS)

/// A block for each row: drop(x) passes through shared memory in pieces, a warp for each rank takes its product with a.
template <class X>
DEVICE void down(View h, View x, const Segment &s, const rl_dropout &dropout) {
  constexpr int kPiece = kThreads * 4;
  SHARED(float, row, [kPiece]);
  SHARED(float, sums, [kMostRanks]);
  const int64_t t = s.begin + blockIdx.x, n = x.cols(), ranks = s.a.rows();
  for (int64_t r = threadIdx.x; r < ranks; r += kThreads) sums[r] = 0;
  for (int64_t piece = 0; piece < n; piece += kPiece) {
    __syncthreads();
    const int64_t first = piece + threadIdx.x * 4;
    const Kept factors = kept(dropout, t, first / 4);
    for (int i = 0; i < 4; i++) {
      const float value = first + i < n ? to_f32(x.row<X>(t)[first + i]) : 0.0f;
      row[threadIdx.x * 4 + i] = dropped(value, factors.factor[i]);
    }
    __syncthreads();
    for (int64_t r = warp(); r < ranks; r += kThreads / 32) {
      float dot = 0;
      for (int64_t i = lane(); i < smaller(kPiece, n - piece); i += 32) dot += row[i] * s.a.row<float>(r)[piece + i];
      for (int step = 16; step > 0; step /= 2) dot += __shfl_xor_sync(kFullWarp, dot, step);
      if (lane() == 0) sums[r] += dot;
    }
  }
  __syncthreads();
  for (int64_t r = threadIdx.x; r < ranks; r += kThreads) h.row<float>(t)[r] = sums[r];
}

template <class Y>
DEVICE void up(View y, View h, const Segment &s) {
  const int64_t t = s.begin + blockIdx.x, ranks = s.b.cols();
  for (int64_t n = threadIdx.x; n < y.cols(); n += kThreads) {
    float sum = 0;
    for (int64_t r = 0; r < ranks; r++) sum += h.row<float>(t)[r] * s.b.row<float>(n)[r];
    Y *out = y.row<Y>(t) + n;
    *out = from_f32<Y>(to_f32(*out) + s.scale * sum);
  }
}

/// gh [end - begin, r]: gradY b.
template <class G>
DEVICE void up_backward(float *gh, View gradY, const Segment &s) {
  const int64_t t = s.begin + blockIdx.x, ranks = s.b.cols();
  for (int64_t r = 0; r < ranks; r++) {
    float sum = 0;
    for (int64_t n = threadIdx.x; n < gradY.cols(); n += kThreads)
      sum += to_f32(gradY.row<G>(t)[n]) * s.b.row<float>(n)[r];
    sum = block_sum(sum);
    if (threadIdx.x == 0) gh[blockIdx.x * ranks + r] = sum;
  }
}

template <class GX>
DEVICE void input(View gradX, const float *gh, const Segment &s, const rl_dropout &dropout) {
  const int64_t t = s.begin + blockIdx.x, n = gradX.cols(), ranks = s.a.rows();
  for (int64_t first = threadIdx.x * 4; first < n; first += kThreads * 4) {
    const Kept factors = kept(dropout, t, first / 4);
    for (int i = 0; i < 4; i++) {
      const int64_t k = first + i;
      if (k >= n) break;
      float sum = 0;
      for (int64_t r = 0; r < ranks; r++) sum += gh[blockIdx.x * ranks + r] * s.a.row<float>(r)[k];
      GX *out = gradX.row<GX>(t) + k;
      *out = from_f32<GX>(to_f32(*out) + dropped(s.scale * sum, factors.factor[i]));
    }
  }
}

/// A thread for four columns of a rank (blockIdx.y).
template <class X>
DEVICE void down_weight(View gradA, const float *gh, View x, const Segment &s, const rl_dropout &dropout) {
  const int64_t group = thread_of_grid(), n = x.cols(), ranks = s.a.rows(), r = blockIdx.y;
  if (group * 4 >= n) return;
  float sums[4] = {};
  for (int64_t t = s.begin; t < s.end; t++) {
    const Kept factors = kept(dropout, t, group);
    const float g = gh[(t - s.begin) * ranks + r];
    for (int i = 0; i < 4; i++) {
      if (group * 4 + i < n) sums[i] += g * dropped(to_f32(x.row<X>(t)[group * 4 + i]), factors.factor[i]);
    }
  }
  for (int i = 0; i < 4; i++) {
    if (group * 4 + i < n) gradA.row<float>(r)[group * 4 + i] += s.scale * sums[i];
  }
}

/// A thread for an element of a rank (blockIdx.y).
template <class G>
DEVICE void up_weight(View gradB, View gradY, View h, const Segment &s) {
  const int64_t n = thread_of_grid(), r = blockIdx.y;
  if (n >= gradY.cols()) return;
  float sum = 0;
  for (int64_t t = s.begin; t < s.end; t++) sum += to_f32(gradY.row<G>(t)[n]) * h.row<float>(t)[r];
  gradB.row<float>(n)[r] += s.scale * sum;
}

#define LORA(T)                                                                                                 \
  KERNEL(lora_down_##T, kThreads, View h, View x, Segment s, rl_dropout dropout) { down<T>(h, x, s, dropout); } \
  KERNEL(lora_up_##T, kThreads, View y, View h, Segment s) { up<T>(y, h, s); }                                  \
  KERNEL(lora_up_backward_##T, kThreads, float *gh, View gradY, Segment s) { up_backward<T>(gh, gradY, s); }    \
  KERNEL(lora_input_##T, kThreads, View gradX, const float *gh, Segment s, rl_dropout dropout) {                \
    input<T>(gradX, gh, s, dropout);                                                                            \
  }                                                                                                             \
  KERNEL(lora_down_weight_##T, kThreads, View gradA, const float *gh, View x, Segment s, rl_dropout dropout) {  \
    down_weight<T>(gradA, gh, x, s, dropout);                                                                   \
  }                                                                                                             \
  KERNEL(lora_up_weight_##T, kThreads, View gradB, View gradY, View h, Segment s) { up_weight<T>(gradB, gradY, h, s); }
FOR_FLOATS(LORA)

#else

namespace {

void add_lora(CudaDevice &d, const View &y, const View &x, const Lora &lora) {
  for (int32_t i = 0; i < lora.count; i++) {
    const LoraSegment &of = lora.segments[i];
    const Segment s{of.begin, of.end, of.scale, of.a, of.b};
    const Grid rows = by_row(s.end - s.begin, kThreads);
    d.launch(kernel_name("lora_down", {x.dtype}), rows, lora.h, x, s, lora.dropout);
    d.launch(kernel_name("lora_up", {y.dtype}), rows, y, lora.h, s);
  }
}

void add_lora_backward(CudaDevice &d, const View &gradX, const View &gradY, const View &x, const Lora &lora) {
  for (int32_t i = 0; i < lora.count; i++) {
    const LoraSegment &of = lora.segments[i];
    const Segment s{of.begin, of.end, of.scale, of.a, of.b};
    const int64_t ranks = s.a.rows();
    const Grid rows = by_row(s.end - s.begin, kThreads);
    float *gh = d.scratch<float>((s.end - s.begin) * ranks);
    const float *read = gh;
    d.launch(kernel_name("lora_up_backward", {gradY.dtype}), rows, gh, gradY, s);
    if (gradX) d.launch(kernel_name("lora_input", {gradX.dtype}), rows, gradX, read, s, lora.dropout);
    if (!of.gradA || s.begin == s.end) continue;
    const Grid down{ceil_div(ceil_div(x.cols(), 4), kThreads), ranks, kThreads};
    d.launch(kernel_name("lora_down_weight", {x.dtype}), down, of.gradA, read, x, s, lora.dropout);
    const Grid up{ceil_div(gradY.cols(), kThreads), ranks, kThreads};
    d.launch(kernel_name("lora_up_weight", {gradY.dtype}), up, of.gradB, gradY, lora.h, s);
  }
}

}  // namespace

void lora_linear(Device &device, View y, View x, const Weight &weight, View bias, const Lora *loras, int32_t count) {
  linear(device, y, x, weight, bias, false);
  for (int32_t i = 0; i < count; i++) add_lora(gpu(device), columns(y, loras[i].from, loras[i].to), x, loras[i]);
}

void lora_linear_backward(Device &device, View gradX, View gradY, View x, const Weight &weight, const Lora *loras,
                          int32_t count) {
  if (gradX) linear_backward_input(device, gradX, gradY, weight, false);
  for (int32_t i = 0; i < count; i++) {
    add_lora_backward(gpu(device), gradX, columns(gradY, loras[i].from, loras[i].to), x, loras[i]);
  }
}

#endif

}  // namespace rl::cuda
