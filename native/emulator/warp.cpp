#include "emulator/warp.h"

#include <cuda_fp16.h>

#include <bit>
#include <cstring>
#include <vector>

#include "emulator/checker.h"
#include "emulator/fiber.h"
#include "emulator/report.h"
#include "emulator/traffic.h"

namespace rl::emulator {
namespace {

constexpr unsigned kAll = 0xffffffffu;

/// One call of a collective under way. Calls are the same when function, mask and source line are.
struct Call {
  const char *name = nullptr;  // null: free
  unsigned mask, arrived;
  int line;
  const void *in[32];
  void *out[32];
};
struct Warp {
  Call calls[8];  // lanes of different masks may be in different ones
};
std::vector<Warp> &warps = *new std::vector<Warp>;

using Combine = void (*)(const Call &call);

void collective(const char *name, unsigned mask, const void *in, void *out, Combine combine, const char *file,
                int line) {
  const int thread = this_thread->number, lane = thread % 32;
  const unsigned bit = 1u << lane;
  if (!(mask & bit)) {
    error("bad-mask", file, line, std::string(name) + ": the calling lane is not in its own mask");
    abandon();
  }
  Call *call = nullptr, *free = nullptr;
  for (Call &c : warps[static_cast<size_t>(thread / 32)].calls) {
    if (!c.name) {
      if (!free) free = &c;
    } else if (c.name == name && c.mask == mask && c.line == line && !(c.arrived & bit)) {
      call = &c;
      break;
    }
  }
  if (!call) {
    if (!free) {
      error("divergent-collective", file, line, std::string(name) + ": too many collectives of one warp at once");
      abandon();
    }
    call = free;
    call->name = name;
    call->mask = mask;
    call->line = line;
    call->arrived = 0;
  }
  call->in[lane] = in;
  call->out[lane] = out;
  call->arrived |= bit;
  if (call->arrived != mask) {
    park(name, mask, file, line);
    return;
  }
  if (mask == kAll) traffic::warp_meets(thread / 32);
  if (combine) combine(*call);
  call->name = nullptr;
  for (int i = 0; i < 32; i++) {
    if ((mask >> i & 1) && i != lane) wake(thread / 32 * 32 + i);
  }
}

struct ShuffleIn {
  Shuffle kind;
  uint64_t value;
  int x, width;
};

int shuffle_source(const ShuffleIn &s, int lane) {
  const int first = lane & ~(s.width - 1);
  int source = lane;
  switch (s.kind) {
    case Shuffle::index:
      return first + (s.x & (s.width - 1));
    case Shuffle::up:
      source = lane - s.x;
      return source < first ? lane : source;
    case Shuffle::down:
      source = lane + s.x;
      break;
    case Shuffle::exclusive_or:
      source = lane ^ s.x;
  }
  return source >= first + s.width ? lane : source;
}

float bf16_at(const uint32_t *registers, int r, int half) {
  const uint32_t bits = (registers[r] >> (16 * half) & 0xffffu) << 16;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
float f16_at(const uint32_t *registers, int r, int half) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(registers[r] >> (16 * half))));
}

struct MmaIn {
  const uint32_t *a, *b;
};

}  // namespace

void begin_warps(int threads) { warps.assign(static_cast<size_t>((threads + 31) / 32), Warp{}); }

void warp_barrier(unsigned mask, const char *file, int line) {
  collective(
      "__syncwarp", mask, nullptr, nullptr,
      [](const Call &call) {
        if (call.mask == kAll) checker::warp_barrier(this_thread->number / 32);
      },
      file, line);
}

uint64_t warp_shuffle(Shuffle kind, unsigned mask, uint64_t value, int x, int width, const char *file, int line) {
  const ShuffleIn in{kind, value, x, width};
  uint64_t out = value;
  collective(
      "__shfl_sync", mask, &in, &out,
      [](const Call &call) {
        for (int i = 0; i < 32; i++) {
          if (!(call.mask >> i & 1)) continue;
          const int source = shuffle_source(*static_cast<const ShuffleIn *>(call.in[i]), i);
          if (!(call.mask >> source & 1)) {
            error("shuffle-from-absent-lane", nullptr, 0, "lane " + std::to_string(source) + " is not in the mask");
            continue;
          }
          *static_cast<uint64_t *>(call.out[i]) = static_cast<const ShuffleIn *>(call.in[source])->value;
        }
      },
      file, line);
  return out;
}

unsigned warp_ballot(unsigned mask, bool predicate, const char *file, int line) {
  unsigned out = 0;
  collective(
      "__ballot_sync", mask, &predicate, &out,
      [](const Call &call) {
        unsigned votes = 0;
        for (int i = 0; i < 32; i++) {
          if ((call.mask >> i & 1) && *static_cast<const bool *>(call.in[i])) votes |= 1u << i;
        }
        for (int i = 0; i < 32; i++) {
          if (call.mask >> i & 1) *static_cast<unsigned *>(call.out[i]) = votes;
        }
      },
      file, line);
  return out;
}

// Fragments of m16n8k16: with g = lane / 4 and t = lane % 4, register r of A holds row g + 8 (r % 2), columns 2t + 8 (r / 2) and
// the next; register r of B rows 2t + 8r and the next of column g; element r of C row g + 8 (r / 2), column 2t + r % 2.
// m16n8k8 of TF32: register r of A holds row g + 8 (r % 2), column t + 4 (r / 2); register r of B row t + 4r of column g.
template <int kDepth, class Gather>
static void multiply(const Call &call, const Gather &gather) {
  float A[16][kDepth], B[kDepth][8], C[16][8];
  for (int i = 0; i < 32; i++) {
    const int g = i / 4, t = i % 4;
    gather(*static_cast<const MmaIn *>(call.in[i]), g, t, A, B);
    const float *c = static_cast<const float *>(call.out[i]);
    for (int r = 0; r < 4; r++) C[g + r / 2 * 8][t * 2 + r % 2] = c[r];
  }
  for (int i = 0; i < 16; i++) {
    for (int k = 0; k < kDepth; k++) {
      for (int j = 0; j < 8; j++) C[i][j] += A[i][k] * B[k][j];
    }
  }
  for (int i = 0; i < 32; i++) {
    const int g = i / 4, t = i % 4;
    float *c = static_cast<float *>(call.out[i]);
    for (int r = 0; r < 4; r++) c[r] = C[g + r / 2 * 8][t * 2 + r % 2];
  }
}

template <float (&number_at)(const uint32_t *, int, int)>
static void mma_m16n8k16(float *d, const uint32_t *a, const uint32_t *b, const char *file, int line) {
  const MmaIn in{a, b};
  collective(
      "mma", kAll, &in, d,
      [](const Call &call) {
        multiply<16>(call, [](const MmaIn &lane, int g, int t, auto &A, auto &B) {
          for (int e = 0; e < 2; e++) {
            for (int r = 0; r < 4; r++) A[g + r % 2 * 8][t * 2 + e + r / 2 * 8] = number_at(lane.a, r, e);
            for (int r = 0; r < 2; r++) B[t * 2 + e + r * 8][g] = number_at(lane.b, r, e);
          }
        });
      },
      file, line);
}
void mma_m16n8k16_bf16(float *d, const uint32_t *a, const uint32_t *b, const char *file, int line) {
  mma_m16n8k16<bf16_at>(d, a, b, file, line);
}
void mma_m16n8k16_f16(float *d, const uint32_t *a, const uint32_t *b, const char *file, int line) {
  mma_m16n8k16<f16_at>(d, a, b, file, line);
}

void mma_m16n8k8_tf32(float *d, const uint32_t *a, const uint32_t *b, const char *file, int line) {
  const MmaIn in{a, b};
  collective(
      "mma", kAll, &in, d,
      [](const Call &call) {
        multiply<8>(call, [](const MmaIn &lane, int g, int t, auto &A, auto &B) {
          // What a caller did not round is cut off.
          auto number = [](uint32_t x) { return std::bit_cast<float>(x & ~0x1fffu); };
          for (int r = 0; r < 4; r++) A[g + r % 2 * 8][t + r / 2 * 4] = number(lane.a[r]);
          for (int r = 0; r < 2; r++) B[t + r * 4][g] = number(lane.b[r]);
        });
      },
      file, line);
}

void ldmatrix_x4(uint32_t *r, const void *p, bool transposed, const char *file, int line) {
  access(p, 16, Access::read, file, line);
  collective(transposed ? "ldmatrix.trans" : "ldmatrix", kAll, p, r,
             transposed ? Combine([](const Call &call) {
               for (int tile = 0; tile < 4; tile++) {
                 uint16_t rows[8][8];
                 for (int i = 0; i < 8; i++) std::memcpy(rows[i], call.in[tile * 8 + i], 16);
                 for (int i = 0; i < 32; i++) {
                   const int g = i / 4, t = i % 4;
                   static_cast<uint32_t *>(call.out[i])[tile] =
                       rows[t * 2][g] | static_cast<uint32_t>(rows[t * 2 + 1][g]) << 16;
                 }
               }
             })
                        : Combine([](const Call &call) {
                            for (int i = 0; i < 32; i++) {
                              for (int tile = 0; tile < 4; tile++) {
                                const char *row = static_cast<const char *>(call.in[tile * 8 + i / 4]);
                                std::memcpy(static_cast<uint32_t *>(call.out[i]) + tile, row + i % 4 * 4, 4);
                              }
                            }
                          }),
             file, line);
}

}  // namespace rl::emulator
