#include "cpu/isa.h"

#include <cstdlib>
#include <cstring>

namespace rl::cpu {

namespace generic {
extern const Ops ops;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Ops ops;
}
namespace avx512 {
extern const Ops ops;
}
#endif

const char *isa_name(Isa isa) {
  switch (isa) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    default:
      return "generic";
  }
}

bool has_isa(Isa isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (isa == Isa::avx512) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
  }
  if (isa == Isa::avx2) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("f16c");
  }
  return true;
#else
  return isa == Isa::generic;
#endif
}

Isa best_isa() {
  const char *cap = std::getenv("RLHF4J_CPU_ISA");
  if (cap && !*cap) cap = nullptr;
  for (Isa isa : {Isa::avx512, Isa::avx2}) {
    if (cap && std::strcmp(cap, isa_name(isa)) == 0) cap = nullptr;
    if (!cap && has_isa(isa)) return isa;
  }
  return Isa::generic;
}

const Ops &ops_of(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::avx512) return avx512::ops;
  if (isa == Isa::avx2) return avx2::ops;
#endif
  (void)isa;
  return generic::ops;
}

}  // namespace rl::cpu
