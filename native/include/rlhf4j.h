/*
 * rlhf4j: the C ABI between the JVM and the compute backends.
 *
 * Every function returns an rl_status. On anything but RL_OK nothing was computed and rl_last_error() tells, for the
 * calling thread, which op and argument were wrong, what was expected and what was found. No call crashes on bad
 * arguments: handles are checked numbers (a closed handle is an error, not undefined behaviour), and every tensor is
 * checked against the size of its buffer before a kernel sees it.
 *
 * Conventions, unless a function says otherwise
 *   - Outputs come first. `y = f(x)`; gradients are named gradX, gradY.
 *   - Activation outputs and activation gradients are overwritten (=). Parameter gradients are accumulated (+=).
 *   - Tensors are dense in all but their first dimension; the first may have a larger stride where `rows may be
 *     strided` is said. Outputs must not overlap inputs unless `may alias` is said.
 *   - T is a number of packed tokens, B of sequences, H the hidden size, V the vocabulary, D the size of a head.
 *   - `cu_seqlens` is i32 [B+1]: sequence b is rows cu_seqlens[b] .. cu_seqlens[b+1]-1. First is 0, last is T.
 *   - "float" means f32 or bf16; attention's ops and rl_kv_append also take f16. Arithmetic is f32 whatever the storage.
 *   - Same device, same inputs, same number of threads: same bits, unless the device was told otherwise (docs/cuda.md).
 *   - A device may be called from any thread; calls on one device are serialised.
 *   - A device that works ahead (cuda) tells of bad values inside tensors (ids, offsets) when something next waits for it.
 */
#ifndef RLHF4J_H
#define RLHF4J_H

#include <stdint.h>

#if defined(_WIN32)
#define RL_API __declspec(dllexport)
#else
#define RL_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Raised with every change of a declaration below; the Java side refuses a library with another number. */
#define RL_ABI_VERSION 4

typedef enum rl_status {
  RL_OK = 0,
  RL_INVALID_ARGUMENT = 1, /* a null, a wrong shape, dtype or value */
  RL_INVALID_HANDLE = 2,   /* closed, or never opened */
  RL_OUT_OF_MEMORY = 3,
  RL_UNSUPPORTED = 4, /* the backend has no such op, or no such device is there */
  RL_INTERNAL = 5
} rl_status;

typedef enum rl_dtype { RL_F32 = 0, RL_BF16 = 1, RL_F16 = 2, RL_I32 = 3, RL_U8 = 4 } rl_dtype;

/* Handles are numbers, never addresses; 0 is no handle. */
typedef uint64_t rl_device;
typedef uint64_t rl_buffer;
typedef uint64_t rl_weight;
typedef uint64_t rl_recording;

#define RL_MAX_RANK 4

/* A view of a device buffer. `offset` in bytes, `stride` in elements. rank 0 is a scalar. */
typedef struct rl_tensor {
  rl_buffer buffer;
  int64_t offset;
  int32_t dtype;
  int32_t rank;
  int64_t shape[RL_MAX_RANK];
  int64_t stride[RL_MAX_RANK];
} rl_tensor;

/* ---- library --------------------------------------------------------------------------------------------------- */

/* RL_ABI_VERSION of the library. */
RL_API int32_t rl_abi_version(void);
/* The calling thread's last error, UTF-8, valid until its next failing call; "" if there was none. */
RL_API const char *rl_last_error(void);
/* One line: the library's version, compiler, and what its backends were built with. */
RL_API const char *rl_build_info(void);

/* ---- devices and memory ---------------------------------------------------------------------------------------- */

/* Opens a device. backend: "cpu" (or a plugin's name); index: its number (0 for cpu); threads: 0 for all cores. */
RL_API rl_status rl_device_open(rl_device *device, const char *backend, int32_t index, int32_t threads);
/* Closes a device and everything allocated on it; its buffers and weights become invalid handles. */
RL_API rl_status rl_device_close(rl_device device);
/* One line about the device: model, instruction set chosen, threads. Truncated to capacity bytes with its NUL. */
RL_API rl_status rl_device_describe(char *text, int64_t capacity, rl_device device);
/* Waits until all queued work is done. */
RL_API rl_status rl_device_synchronize(rl_device device);
/*
 * Bytes: live buffers and weights now; the highest they were, on a GPU with what ops needed beside them; and what the allocator
 * holds from the system.
 */
RL_API rl_status rl_device_memory(int64_t *in_use, int64_t *peak, int64_t *reserved, rl_device device);
/* Bytes of the device's own memory: free now, for anyone, and all. Both 0 where it works in the process's memory (cpu). */
RL_API rl_status rl_device_capacity(int64_t *free, int64_t *total, rl_device device);
/* From now on the highest is counted from what is live now: to measure one step. */
RL_API rl_status rl_device_reset_peak(rl_device device);
/* Gives cached free blocks back to the system. */
RL_API rl_status rl_device_trim(rl_device device);

/* Allocates uninitialised device memory, 64-byte aligned. bytes >= 0. */
RL_API rl_status rl_buffer_alloc(rl_buffer *buffer, rl_device device, int64_t bytes);
/* Frees a buffer: stream-ordered, its memory is reused by later allocations of the device. */
RL_API rl_status rl_buffer_free(rl_buffer buffer);

/* dst (dense) = bytes of host memory; bytes must be the tensor's size. */
RL_API rl_status rl_copy_from_host(const rl_tensor *dst, const void *src, int64_t bytes);
/* Host memory = src (dense); waits for the device. */
RL_API rl_status rl_copy_to_host(void *dst, const rl_tensor *src, int64_t bytes);
/* y = x, same shape; f32 <-> bf16 <-> f16 conversion where the dtypes differ; i32 and u8 to the same only. Rows may be strided. */
RL_API rl_status rl_copy(const rl_tensor *y, const rl_tensor *x);
/* y[...] = value, any dtype; i32 and u8 take whole numbers that they can hold. */
RL_API rl_status rl_fill(const rl_tensor *y, double value);

/* ---- recordings: a run of ops that is queued as one ---------------------------------------------------------------- */

/*
 * What the calling thread calls on the device from begin to end is noted instead of done, and each launch then does all of it,
 * in that order and with the same tensors (a CUDA graph): for a step that is repeated many times and whose ops are short, such
 * as the decoding of one token. What changes from launch to launch lies in tensors that are filled in between.
 *   - Ops are checked as they are noted. Buffers allocated in between must be freed before the end: their memory stays with the
 *     recording, and its contents do not survive. Buffers and weights of before must be alive at each launch.
 *   - In between, whatever needs the device to have worked is RL_INVALID_ARGUMENT: copies from and to the host, synchronize,
 *     packing weights; so is every op and allocation of another thread.
 * can_record: 0 where each op is done at once anyway (cpu), or recordings were turned off; begin is RL_UNSUPPORTED there.
 * end with recording null drops what was noted.
 */
RL_API rl_status rl_device_can_record(int32_t *can_record, rl_device device);
RL_API rl_status rl_recording_begin(rl_device device);
RL_API rl_status rl_recording_end(rl_recording *recording, rl_device device);
RL_API rl_status rl_recording_launch(rl_recording recording);
/* Its memory goes back to the device. */
RL_API rl_status rl_recording_free(rl_recording recording);

/* ---- elementwise, norms, rows ------------------------------------------------------------------------------------ */

/* y = a + b, float, same shape; a, b, y may differ in dtype; y may alias a or b. Rows may be strided. */
RL_API rl_status rl_add(const rl_tensor *y, const rl_tensor *a, const rl_tensor *b);

/* y = factor * x, float, same shape; x and y may differ in dtype; y may alias x. Rows may be strided. */
RL_API rl_status rl_scale(const rl_tensor *y, const rl_tensor *x, float factor);

/* y[t] = w[ids[t]]. y float [T,H], w float [V,H], ids i32 [T] in [0,V). */
RL_API rl_status rl_embedding(const rl_tensor *y, const rl_tensor *w, const rl_tensor *ids);
/* gradW[ids[t]] += gradY[t]. gradW f32 [V,H], gradY float [T,H]. */
RL_API rl_status rl_embedding_backward(const rl_tensor *gradW, const rl_tensor *gradY, const rl_tensor *ids);

/* y[m] = x[index[m]]. y float [M,H], x float [T,H] of the same dtype, index i32 [M] in [0,T). x rows may be strided. */
RL_API rl_status rl_gather_rows(const rl_tensor *y, const rl_tensor *x, const rl_tensor *index);
/* gradX = 0; gradX[index[m]] += gradY[m]. The backward of gather_rows. */
RL_API rl_status rl_gather_rows_backward(const rl_tensor *gradX, const rl_tensor *gradY, const rl_tensor *index);

/*
 * y = w * x / sqrt(mean(x^2) + eps) over the last dimension. x float [T,H], or [T,heads,H] for a norm of each head, w f32 [H],
 * y float like x. Rows may be strided. (Zhang & Sennrich 2019)
 */
RL_API rl_status rl_rms_norm(const rl_tensor *y, const rl_tensor *x, const rl_tensor *w, float eps);
/* gradX (=) float like x, gradW (+=) f32 [H] or null. */
RL_API rl_status rl_rms_norm_backward(const rl_tensor *gradX, const rl_tensor *gradW, const rl_tensor *gradY,
                                      const rl_tensor *x, const rl_tensor *w, float eps);

/*
 * y = w * (x - mean(x)) / sqrt(var(x) + eps) + bias over the last dimension, var the mean of squares. x, y float [T,H]; w, bias
 * f32 [H]. (Ba et al. 2016)
 */
RL_API rl_status rl_layer_norm(const rl_tensor *y, const rl_tensor *x, const rl_tensor *w, const rl_tensor *bias,
                               float eps);
/* gradX (=) float [T,H]; gradW, gradBias (+=) f32 [H], both or both null. */
RL_API rl_status rl_layer_norm_backward(const rl_tensor *gradX, const rl_tensor *gradW, const rl_tensor *gradBias,
                                        const rl_tensor *gradY, const rl_tensor *x, const rl_tensor *w, float eps);

/*
 * The angles of rotary position embedding: table[t] = cos(positions[t] f[i]) for i < D/2, then sin of the same. One table serves
 * every layer. table f32 [T,D]; positions i32 [T] >= 0; invFreq f32 [2,D/2]: f[i] = invFreq[0,i] + invFreq[1,i], in two parts
 * since an angle of thousands of radians needs more digits than f32 has.
 */
RL_API rl_status rl_rope_table(const rl_tensor *table, const rl_tensor *positions, const rl_tensor *invFreq);
/*
 * Rotary position embedding, Llama's half rotation: for i < R/2 and angle as table[t] has it,
 *   y[i] = x[i] cos - x[i+R/2] sin,  y[i+R/2] = x[i+R/2] cos + x[i] sin;  y[i] = x[i] for i >= R.   (Su et al. 2021)
 * x, y float [T,heads,D], rows may be strided, y may alias x; table f32 [T,R], R even and at most D. inverse != 0 rotates
 * back: the backward.
 */
RL_API rl_status rl_rope(const rl_tensor *y, const rl_tensor *x, const rl_tensor *table, int32_t inverse);

/* y = silu(gate) * up. All float [T,I] of one dtype; rows of gate and up may be strided. (Shazeer 2020) */
RL_API rl_status rl_swiglu(const rl_tensor *y, const rl_tensor *gate, const rl_tensor *up);
/* gradGate, gradUp (=), rows may be strided. */
RL_API rl_status rl_swiglu_backward(const rl_tensor *gradGate, const rl_tensor *gradUp, const rl_tensor *gradY,
                                    const rl_tensor *gate, const rl_tensor *up);

/*
 * y = gelu(x) * up, or gelu(x) where up is null; gelu(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). All float [T,I] of
 * one dtype; rows of x and up may be strided. (Hendrycks & Gimpel 2016)
 */
RL_API rl_status rl_gelu_tanh(const rl_tensor *y, const rl_tensor *x, const rl_tensor *up);
/* gradX, gradUp (=), rows may be strided; gradUp null where up is. */
RL_API rl_status rl_gelu_tanh_backward(const rl_tensor *gradX, const rl_tensor *gradUp, const rl_tensor *gradY,
                                       const rl_tensor *x, const rl_tensor *up);

/* ---- linear and LoRA --------------------------------------------------------------------------------------------- */

/*
 * The matrix of a linear layer, [N,K] row-major as checkpoints store it.
 * pack: copies it into the backend's preferred layout; frozen from then on, and the tensor may be freed. With
 *   for_backward != 0 also prepares the layout that linear_backward_input wants (made at its first use otherwise).
 * view: refers to the tensor, whose values may change between calls (trainable matrices); the buffer must outlive it.
 * w float [N,K].
 */
RL_API rl_status rl_weight_pack(rl_weight *weight, const rl_tensor *w, int32_t for_backward);
RL_API rl_status rl_weight_view(rl_weight *weight, const rl_tensor *w);
RL_API rl_status rl_weight_free(rl_weight weight);
/*
 * y[t] = W[ids[t]]: rows of a matrix as rl_embedding gives those of a tensor, so that an embedding tied to the head needs no
 * copy of its own. y float [T,K], ids i32 [T] in [0,N).
 */
RL_API rl_status rl_weight_rows(const rl_tensor *y, rl_weight weight, const rl_tensor *ids);

/*
 * y = x W^T + bias (accumulate = 0) or y += x W^T + bias (accumulate != 0).
 * x float [T,K] in W's dtype, y float [T,N], bias f32 [N] or null. Rows of x and y may be strided.
 */
RL_API rl_status rl_linear(const rl_tensor *y, const rl_tensor *x, rl_weight weight, const rl_tensor *bias,
                           int32_t accumulate);
/* gradX = gradY W, or += with accumulate. gradX float [T,K], gradY float [T,N] in W's dtype. Rows may be strided. */
RL_API rl_status rl_linear_backward_input(const rl_tensor *gradX, const rl_tensor *gradY, rl_weight weight,
                                          int32_t accumulate);
/*
 * gradW += gradY^T x, gradBias += sum_t gradY. gradW f32 [N,K], gradBias f32 [N] or null; x, gradY float of one dtype, rows
 * may be strided.
 */
RL_API rl_status rl_linear_backward_weight(const rl_tensor *gradW, const rl_tensor *gradBias, const rl_tensor *gradY,
                                           const rl_tensor *x);

/* ---- NF4: frozen matrices in four bits ----------------------------------------------------------------------------- */

/*
 * A matrix [rows,cols] in bitsandbytes' NF4 (Dettmers et al. 2023): the flattened matrix in blocks of 64, each value the code
 * nearest to value / absmax, 16 codes of which 7 is 0. With absmax in u8 ("double quantisation") block b's is
 *   nestedCode[absmax[b]] * nestedAbsmax[b / 256] + offset[0].
 */
typedef struct rl_nf4 {
  int64_t rows, cols;
  rl_tensor codes;        /* u8 [(rows*cols+1)/2]: row-major, two values a byte, the first in the high half */
  rl_tensor absmax;       /* f32 [ceil(rows*cols/64)], or u8 of the same length */
  rl_tensor nestedCode;   /* with u8 only: f32 [256], ascending; buffer 0 otherwise, as in the two below */
  rl_tensor nestedAbsmax; /* f32 [ceil(blocks/256)] */
  rl_tensor offset;       /* f32 [1]: the mean of all absmax */
} rl_nf4;

/*
 * y = w in NF4, bit for bit as bitsandbytes does it on a CPU. w float [rows,cols]; y's tensors are written, but for nestedCode,
 * which is an input. A block of zeros stays zeros. Nothing is made up for a value that is not finite: single, its block
 * dequantises to NaN or infinity at least there; double, the whole matrix to NaN.
 */
RL_API rl_status rl_nf4_quantize(const rl_nf4 *y, const rl_tensor *w);
/* w = x's values: code * absmax in f32. w float [rows,cols]. */
RL_API rl_status rl_nf4_dequantize(const rl_tensor *w, const rl_nf4 *x);
/*
 * A frozen weight [sum of the parts' rows, cols] that stays in four bits: the parts' rows joined, copied into the backend's own
 * layout; the tensors may be freed. 1 to 64 parts, all with as many columns, and all with f32 absmax or all with u8. dtype: of
 * the activations that it multiplies. It serves wherever a packed weight does; with bf16 activations and columns that are a
 * multiple of 64 its forward is nearer to the f32 values than a bf16 copy would be (on a GPU: with up to 384 rows of x; as near
 * with more), its backward as near.
 */
RL_API rl_status rl_weight_pack_nf4(rl_weight *weight, const rl_nf4 *parts, int32_t count, int32_t dtype);

/*
 * Dropout by counter: element (row, column) is dropped if u < p, where u is the upper 24 bits, as a number in [0,1), of
 * word column % 4 of Philox4x32-10(key = seed; counter = stream's low half, its high half, row, column / 4).
 * 0 <= p < 1; p = 0: none.
 */
typedef struct rl_dropout {
  float p;
  int32_t reserved;
  uint64_t seed;
  uint64_t stream;
} rl_dropout;

/* One run of rows [begin, end) that goes through one adapter: a [r,K], b [to - from, r] (f32), scale = alpha / r. */
typedef struct rl_lora_segment {
  int64_t begin;
  int64_t end;
  float scale;
  int32_t reserved;
  rl_tensor a;
  rl_tensor b;
  rl_tensor gradA; /* (+=) f32, backward only; buffer 0: this adapter is frozen */
  rl_tensor gradB;
} rl_lora_segment;

/*
 * The adapters of columns [from, to) of y: runs of rows that ascend and do not overlap, at most 1024; r may differ between them
 * (r <= 512), and several may name one adapter. h f32 [T,R], R >= the largest r: what the forward keeps for the backward. Each
 * column range has a dropout of its own; p = 0: none.
 */
typedef struct rl_lora {
  int64_t from;
  int64_t to;
  rl_tensor h;
  const rl_lora_segment *segments;
  int32_t count; /* of segments */
  int32_t reserved;
  rl_dropout dropout;
} rl_lora;

/*
 * A linear layer with its adapters (Hu et al. 2021): y = x W^T + bias, and for rows t of segment s of each of `loras`
 *   h[t] = drop(x[t]) a_s^T,  y[t, from:to] += scale_s h[t] b_s^T.
 * Several projections of one input (q, k, v) are one product, and each keeps adapters of its own. Column ranges ascend and do not
 * overlap, 0 to 8 of them. drop divides what it keeps by 1 - p.
 * x float [T,K] in W's dtype, y float [T,N], bias f32 [N] or null. a [r,K], b [to - from, r]. Rows of x, y and h may be strided.
 */
RL_API rl_status rl_lora_linear(const rl_tensor *y, const rl_tensor *x, rl_weight weight, const rl_tensor *bias,
                                const rl_lora *loras, int32_t count);
/*
 * With gh[t] = scale_s gradY[t, from:to] b_s:  gradX = gradY W + sum over loras of (gh a_s) mask,
 *   gradA_s += gh^T drop(x), gradB_s += scale_s gradY[:, from:to]^T h.
 * gradX (=) float [T,K] or null; x, gradY float in W's dtype; the loras of the forward, with its dropout. The gradients of W and
 * bias are rl_linear_backward_weight's.
 */
RL_API rl_status rl_lora_linear_backward(const rl_tensor *gradX, const rl_tensor *gradY, const rl_tensor *x,
                                         rl_weight weight, const rl_lora *loras, int32_t count);
/* y[t,c] = 0 where the dropout drops (t,c), else x / (1-p). What an adapter does to x inside; for tests and plain dropout. */
RL_API rl_status rl_dropout_apply(const rl_tensor *y, const rl_tensor *x, const rl_dropout *dropout);

/* ---- attention --------------------------------------------------------------------------------------------------- */

/*
 * Causal attention over packed sequences with grouped-query heads, softmax(scale q k^T) v, streamed by blocks: no [T,T]
 * matrix exists. (Dao et al. 2022) q, o float or f16 [T,Hq,D]; k, v [T,Hkv,D], one dtype; Hq a multiple of Hkv; rows may be
 * strided. lse f32 [Hq,T]: log-sum-exp of the scaled scores, kept for the backward. window > 0: query i sees keys
 * i-window+1 .. i of its sequence; 0: all before it.
 */
RL_API rl_status rl_attention(const rl_tensor *o, const rl_tensor *lse, const rl_tensor *q, const rl_tensor *k,
                              const rl_tensor *v, const rl_tensor *cu_seqlens, float scale, int32_t window);
/* gradQ, gradK, gradV (=). Shapes and dtype as q, k, v; rows may be strided. f16: what overflows is not finite. */
RL_API rl_status rl_attention_backward(const rl_tensor *gradQ, const rl_tensor *gradK, const rl_tensor *gradV,
                                       const rl_tensor *gradO, const rl_tensor *o, const rl_tensor *lse,
                                       const rl_tensor *q, const rl_tensor *k, const rl_tensor *v,
                                       const rl_tensor *cu_seqlens, float scale, int32_t window);

/* cache[slots[t], positions[t]] = k[t] (and v). cacheK, cacheV float or f16 [slots,L,Hkv,D]; k, v [T,Hkv,D], may be strided. */
RL_API rl_status rl_kv_append(const rl_tensor *cacheK, const rl_tensor *cacheV, const rl_tensor *k, const rl_tensor *v,
                              const rl_tensor *slots, const rl_tensor *positions);
/*
 * One new query per row against a cache in pages of L positions: position p of row b lies at cache[slots[b, p / L], p % L],
 * and row b attends to positions 0 .. lengths[b]-1 (the last `window` of them if window > 0). q, o in its dtype [B,Hq,D], rows
 * may be strided; slots i32 [B,n], or [B] for n = 1, each of them a slot of the cache, be it beyond the length; lengths i32 [B],
 * 1 <= lengths[b] <= n L.
 */
RL_API rl_status rl_attention_decode(const rl_tensor *o, const rl_tensor *q, const rl_tensor *cacheK,
                                     const rl_tensor *cacheV, const rl_tensor *slots, const rl_tensor *lengths,
                                     float scale, int32_t window);

/* ---- heads ------------------------------------------------------------------------------------------------------- */

/*
 * Language-model head fused with log-softmax; logits z = x W^T / temperature are made in chunks and never kept.
 * logp[t] = log softmax(z[t])[targets[t]]; entropy[t] = -sum_v p log p; lse[t] = logsumexp(z[t]).
 * x float [T,H] in W's dtype; targets i32 [T] in [0,V); logp, lse f32 [T]; entropy f32 [T] or null. temperature > 0.
 */
RL_API rl_status rl_head_logprob(const rl_tensor *logp, const rl_tensor *entropy, const rl_tensor *lse,
                                 const rl_tensor *x, rl_weight weight, const rl_tensor *targets, float temperature);
/*
 * With dz[t,v] = (gradLogp[t] (1[v = target] - p_v) - gradEntropy[t] p_v (log p_v + entropy[t])) / temperature:
 * gradX = dz W, gradW += dz^T x. gradX float [T,H] or null, gradW f32 [V,H] or null, gradLogp f32 [T]; gradEntropy f32 [T]
 * and entropy f32 [T] both or both null. lse as the forward left it.
 */
RL_API rl_status rl_head_logprob_backward(const rl_tensor *gradX, const rl_tensor *gradW, const rl_tensor *gradLogp,
                                          const rl_tensor *gradEntropy, const rl_tensor *x, rl_weight weight,
                                          const rl_tensor *targets, const rl_tensor *lse, const rl_tensor *entropy,
                                          float temperature);
/*
 * Cross entropy and its gradient in one sweep (the upstream gradient is known): loss[0] = -sum_t logp[t] over targets
 * != -100, loss[1] = their number; gradX = gradScale * d loss[0]/dx, gradW += the same for W. loss f32 [2]; gradX float
 * [T,H] or null, gradW f32 [V,H] or null. Mean reduction: gradScale = 1/number, divide loss[0] by loss[1].
 */
RL_API rl_status rl_head_cross_entropy(const rl_tensor *loss, const rl_tensor *gradX, const rl_tensor *gradW,
                                       const rl_tensor *x, rl_weight weight, const rl_tensor *targets, float gradScale);
/*
 * kl[t] = sum_v p_v (log p_v - log q_v), p = softmax(x W^T / temperature), q = softmax(xRef Wref^T / temperature).
 * weightRef may equal weight (a shared head, other hidden states); its hidden size and dtype may differ from weight's, x and
 * xRef are of their own weight's. kl, lse, lseRef f32 [T].
 */
RL_API rl_status rl_head_full_kl(const rl_tensor *kl, const rl_tensor *lse, const rl_tensor *lseRef, const rl_tensor *x,
                                 rl_weight weight, const rl_tensor *xRef, rl_weight weightRef, float temperature);
/* gradX = (gradKl[t] p_v (log p_v - log q_v - kl[t]) / temperature) W, gradW +=; nothing to the reference. Either may be null. */
RL_API rl_status rl_head_full_kl_backward(const rl_tensor *gradX, const rl_tensor *gradW, const rl_tensor *gradKl,
                                          const rl_tensor *x, rl_weight weight, const rl_tensor *xRef,
                                          rl_weight weightRef, const rl_tensor *lse, const rl_tensor *lseRef,
                                          const rl_tensor *kl, float temperature);

/* Score and value heads: y[t] = x[t] . w + bias. y f32 [T], x float [T,H], w f32 [H], bias f32 [1] or null. */
RL_API rl_status rl_scalar_head(const rl_tensor *y, const rl_tensor *x, const rl_tensor *w, const rl_tensor *bias);
/* gradX (=) float [T,H] or null, gradW (+=) f32 [H], gradBias (+=) f32 [1] or null, gradY f32 [T]. */
RL_API rl_status rl_scalar_head_backward(const rl_tensor *gradX, const rl_tensor *gradW, const rl_tensor *gradBias,
                                         const rl_tensor *gradY, const rl_tensor *x, const rl_tensor *w);

/* ---- reinforcement learning: packed f32 [T] over response tokens -------------------------------------------------- */

typedef enum rl_kl_kind { RL_KL_K1 = 0, RL_KL_ABS = 1, RL_KL_MSE = 2, RL_KL_K3 = 3 } rl_kl_kind;

/* With d = logp - logpRef: K1 d; ABS |d|; MSE d^2/2; K3 exp(-d) - 1 + d. (Schulman 2020; TRL's kl_penalty) */
RL_API rl_status rl_kl_penalty(const rl_tensor *kl, const rl_tensor *logp, const rl_tensor *logpRef, int32_t kind);
/* rewards[t] = -beta kl[t], plus scores[b] at the last token of sequence b (which must not be empty). scores f32 [B]. */
RL_API rl_status rl_shaped_rewards(const rl_tensor *rewards, const rl_tensor *kl, const rl_tensor *scores,
                                   const rl_tensor *cu_seqlens, float beta);
/*
 * Per sequence, backwards: delta = r_t + gamma V_{t+1} - V_t (V after the last token is 0),
 * advantages_t = delta + gamma lam advantages_{t+1}, returns = advantages + V. (Schulman et al. 2016)
 */
RL_API rl_status rl_gae(const rl_tensor *advantages, const rl_tensor *returns, const rl_tensor *rewards,
                        const rl_tensor *values, const rl_tensor *cu_seqlens, float gamma, float lam);
/*
 * y = (x - mean) / sqrt(var + 1e-8), var unbiased; shift_mean = 0 adds the mean back. With fewer than two elements y = x.
 * y may alias x.
 */
RL_API rl_status rl_whiten(const rl_tensor *y, const rl_tensor *x, int32_t shift_mean);

typedef struct rl_advantages_config {
  float beta, gamma, lam;
  int32_t whiten_rewards, whiten_advantages; /* 0 or 1: rewards keep their mean, advantages do not */
} rl_advantages_config;

/*
 * From scores to advantages, over a batch: rl_shaped_rewards, rl_whiten of the rewards, rl_gae, rl_whiten of the advantages, the
 * whitenings where they are asked for. rewards, advantages, returns (=), kl, values f32 [T]; scores f32 [B].
 */
RL_API rl_status rl_advantages(const rl_tensor *rewards, const rl_tensor *advantages, const rl_tensor *returns,
                               const rl_tensor *kl, const rl_tensor *scores, const rl_tensor *values,
                               const rl_tensor *cu_seqlens, const rl_advantages_config *config);

typedef struct rl_ppo_config {
  float cliprange;       /* epsilon */
  float cliprange_value; /* epsilon_v */
  float vf_coef;
  float ratio_threshold; /* > 0: losses and gradients are 0 where the mean ratio exceeds it (TRL's skipped minibatch) */
  float log_ratio_clamp; /* > 0: logp - oldLogp is clamped to +- this before exp */
  float dual_clip;       /* > 1: for A < 0 the loss is at most dual_clip * -A (Ye et al. 2020) */
  float grad_scale;      /* multiplies the gradients (gradient accumulation); 1 for none */
  float reserved;
} rl_ppo_config;

enum {
  RL_PPO_LOSS_POLICY = 0,
  RL_PPO_LOSS_VALUE = 1,
  RL_PPO_LOSS_TOTAL = 2,
  RL_PPO_POLICY_CLIPFRAC = 3,
  RL_PPO_VALUE_CLIPFRAC = 4,
  RL_PPO_APPROXKL = 5, /* mean of (logp - oldLogp)^2 / 2 */
  RL_PPO_POLICYKL = 6, /* mean of oldLogp - logp */
  RL_PPO_RATIO_MEAN = 7,
  RL_PPO_SKIPPED = 8,
  RL_PPO_VALUE_ERROR = 9, /* mean of (values - returns)^2 */
  RL_PPO_RETURNS_MEAN = 10,
  RL_PPO_RETURNS_VAR = 11, /* unbiased */
  RL_PPO_VALUE_MEAN = 12,
  RL_PPO_ADVANTAGES_MEAN = 13,
  RL_PPO_RATIO_MAX = 14,
  RL_PPO_ENTROPY = 15, /* mean of entropy; 0 without it */
  RL_PPO_STATS = 16    /* the length of stats */
};

/*
 * Clipped policy and value loss, their gradients and statistics, in one pass (Schulman et al. 2017; DESIGN 4):
 *   policy = mean max(-A rho, -A clip(rho, 1 +- eps)), value = mean max((V-R)^2, (clip(V, Vold +- eps_v) - R)^2) / 2,
 *   total = policy + vf_coef value.  All means over the T tokens given.
 * stats f32 [RL_PPO_STATS]; gradLogp, gradValues f32 [T] (=); logp, values f32 [T] of the minibatch; entropy f32 [T] or null.
 * oldLogp, oldValues, advantages, returns f32 [N] of the batch, of which token t has number index[t] (i32 [T]); without an
 * index N = T, and token t has number t.
 */
RL_API rl_status rl_ppo_loss(const rl_tensor *stats, const rl_tensor *gradLogp, const rl_tensor *gradValues,
                             const rl_tensor *logp, const rl_tensor *values, const rl_tensor *entropy,
                             const rl_tensor *oldLogp, const rl_tensor *oldValues, const rl_tensor *advantages,
                             const rl_tensor *returns, const rl_tensor *index, const rl_ppo_config *config);

/*
 * Pairwise reward loss: mean of -log sigmoid(chosen - rejected - margin) + center (chosen + rejected)^2.
 * stats f32 [4]: loss, accuracy (share of chosen > rejected), mean of chosen - rejected, mean of both. chosen, rejected,
 * gradChosen, gradRejected (= grad_scale times the gradient) f32 [B]; margin f32 [B] or null.
 */
RL_API rl_status rl_pairwise_loss(const rl_tensor *stats, const rl_tensor *gradChosen, const rl_tensor *gradRejected,
                                  const rl_tensor *chosen, const rl_tensor *rejected, const rl_tensor *margin,
                                  float center, float grad_scale);

/* ---- optimizer --------------------------------------------------------------------------------------------------- */

/* norm[0] = sqrt(sum x^2), accumulated in double. norm f32 [1], x f32, dense. */
RL_API rl_status rl_grad_norm(const rl_tensor *norm, const rl_tensor *x);

typedef struct rl_adamw_config {
  float lr, beta1, beta2, eps, weight_decay;
  float max_grad_norm; /* > 0: gradients are scaled by min(1, max_grad_norm / (norm + 1e-6)); needs norm */
  int32_t step;        /* 1 for the first */
  int32_t reserved;
  int64_t decayed; /* weight_decay is for the elements 0 .. decayed: matrices lie before norms and biases */
} rl_adamw_config;

/*
 * AdamW with decoupled weight decay (Loshchilov & Hutter 2019), torch.optim.AdamW's order of operations, after
 * torch.nn.utils.clip_grad_norm_, for all parameters of an optimizer at once. param, m, v, grad f32, same size, dense.
 * rounded bf16 of that size, or null: param (=) as a forward in bf16 reads it. grad (= 0): ready for the next gradient.
 * norm f32 [1] or null; if it is infinite or no number, nothing is changed, so that the caller may look at it afterwards.
 */
RL_API rl_status rl_adamw(const rl_tensor *param, const rl_tensor *rounded, const rl_tensor *m, const rl_tensor *v,
                          const rl_tensor *grad, const rl_tensor *norm, const rl_adamw_config *config);

/* ---- sampling ---------------------------------------------------------------------------------------------------- */

typedef struct rl_sample_config {
  float temperature; /* 0: greedy (the lowest id among equals) */
  int32_t top_k;     /* 0: off */
  float top_p;       /* 1: off */
  int32_t reserved;
  uint64_t seed;
} rl_sample_config;

/*
 * ids[b] ~ softmax(logits[b] / temperature), cut to the top_k largest, then to the smallest set with mass >= top_p; Philox
 * (seed; streams[b], steps[b]). logp (f32 [B] or null): log-probability of the id under softmax(logits / temperature),
 * uncut. suppress i32 [n] or null: ids that rows with allow[b] = 0 cannot take (EOS before min_new_tokens); allow i32 [B].
 * logits f32 [B,V]; ids, streams, steps i32 [B].
 */
RL_API rl_status rl_sample(const rl_tensor *ids, const rl_tensor *logp, const rl_tensor *logits,
                           const rl_tensor *streams, const rl_tensor *steps, const rl_tensor *suppress,
                           const rl_tensor *allow, const rl_sample_config *config);

#ifdef __cplusplus
}
#endif

#endif /* RLHF4J_H */
