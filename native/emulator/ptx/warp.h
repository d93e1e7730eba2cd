// A warp's state, and how ops reach registers and memory.
#pragma once

#include <bit>
#include <cstring>
#include <type_traits>
#include <vector>

#include "emulator/block.h"
#include "emulator/ptx/memory.h"
#include "emulator/ptx/program.h"

namespace rl::emulator::ptx {

/// Ends a launch; the error is in the report.
struct Abandoned {};

struct Copy {  // a cp.async under way
  uint32_t dst;
  uint64_t src;
  uint32_t bytes, source_bytes;
  int group;
  uint32_t lane;
};

/// Lanes that are at one place. Those that diverged run lowest place first, so they meet where their paths do.
struct Group {
  int at;
  uint32_t lanes;
  enum { runs, at_barrier, waits_for_lanes } state;
};

class Warp {
 public:
  int number;
  uint32_t alive;  // lanes that have not ended
  std::vector<Group> groups;
  std::vector<uint64_t> file;   // the register file
  std::vector<uint8_t> locals;  // local_bytes for each lane
  std::vector<Copy> copies;
  int group_of_copies[32];
  uint32_t carry[32];
  const Program *program;
  const uint8_t *parameters;
  Copies when;  // copies happen

  template <class T>
  T *row(int offset) {
    return reinterpret_cast<T *>(reinterpret_cast<char *>(file.data()) + offset);
  }
  uint32_t &predicate(int offset) { return *row<uint32_t>(offset); }

  /// Memory for an access by a lane; reports and throws Abandoned where there is none. With count > 1 a vector.
  uint8_t *reach(Space space, uint64_t address, size_t bytes, Access kind, const Op &op, int lane);
  uint64_t address(const Op &op, int row, int lane) {
    const uint64_t base = op.row[row] < 0 ? 0
                          : op.flag       ? this->row<uint64_t>(op.row[row])[lane]
                                          : this->row<uint32_t>(op.row[row])[lane];
    return base + static_cast<uint64_t>(op.offset);
  }
  void land(const Copy &copy, const Op &op);
  [[noreturn]] void fail(const char *kind, const Op &op, int lane, const std::string &what);
};

bool is_special(const std::string &name);

// ---- how values lie in rows

struct Half {
  uint16_t bits;
};
struct Bfloat {
  uint16_t bits;
};
template <class T>
using Slot = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;

template <class T>
inline T read(Slot<T> s) {
  if constexpr (sizeof(T) == sizeof(Slot<T>)) {
    return std::bit_cast<T>(s);
  } else if constexpr (sizeof(T) == 2) {
    return std::bit_cast<T>(static_cast<uint16_t>(s));
  } else {
    return std::bit_cast<T>(static_cast<uint8_t>(s));
  }
}
template <class T>
inline Slot<T> slot(T v) {
  if constexpr (sizeof(T) == sizeof(Slot<T>)) {
    return std::bit_cast<Slot<T>>(v);
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<uint32_t>(static_cast<int32_t>(v));
  } else {
    return std::bit_cast<uint16_t>(v);
  }
}

template <class F>
inline void lanes(uint32_t mask, F f) {
  if (mask == 0xffffffffu) {
#pragma GCC ivdep  // a result may be an operand too, but of the same lane
    for (int i = 0; i < 32; i++) f(i);
  } else {
    for (; mask; mask &= mask - 1) f(std::countr_zero(mask));
  }
}

// ---- ops by type: d = f(a, b, ...)

template <class D, class A, auto f>
void unary(Warp &w, const Op &op, uint32_t mask) {
  auto *d = w.row<Slot<D>>(op.row[0]);
  const auto *a = w.row<Slot<A>>(op.row[1]);
  lanes(mask, [=](int i) { d[i] = slot<D>(f(read<A>(a[i]))); });
}
template <class D, class A, class B, auto f>
void binary(Warp &w, const Op &op, uint32_t mask) {
  auto *d = w.row<Slot<D>>(op.row[0]);
  const auto *a = w.row<Slot<A>>(op.row[1]);
  const auto *b = w.row<Slot<B>>(op.row[2]);
  lanes(mask, [=](int i) { d[i] = slot<D>(f(read<A>(a[i]), read<B>(b[i]))); });
}
template <class D, class A, class C, auto f>
void ternary(Warp &w, const Op &op, uint32_t mask) {
  auto *d = w.row<Slot<D>>(op.row[0]);
  const auto *a = w.row<Slot<A>>(op.row[1]);
  const auto *b = w.row<Slot<A>>(op.row[2]);
  const auto *c = w.row<Slot<C>>(op.row[3]);
  lanes(mask, [=](int i) { d[i] = slot<D>(f(read<A>(a[i]), read<A>(b[i]), read<C>(c[i]))); });
}

inline void nothing(Warp &, const Op &, uint32_t) {}
inline void narrow(Warp &w, const Op &op, uint32_t mask) {
  auto *d = w.row<uint32_t>(op.row[0]);
  const auto *a = w.row<uint64_t>(op.row[1]);
  lanes(mask, [=](int i) { d[i] = static_cast<uint32_t>(a[i]); });
}
inline void widen_signed(Warp &w, const Op &op, uint32_t mask) {
  auto *d = w.row<uint64_t>(op.row[0]);
  const auto *a = w.row<uint32_t>(op.row[1]);
  lanes(mask, [=](int i) { d[i] = static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(a[i]))); });
}
inline void widen_unsigned(Warp &w, const Op &op, uint32_t mask) {
  auto *d = w.row<uint64_t>(op.row[0]);
  const auto *a = w.row<uint32_t>(op.row[1]);
  lanes(mask, [=](int i) { d[i] = a[i]; });
}
/// Bits of predicates, of the lanes in `mask` only.
inline void set_predicate(Warp &w, int row, uint32_t bits, uint32_t mask) {
  uint32_t &p = w.predicate(row);
  p = (p & ~mask) | (bits & mask);
}
inline void predicate_not(Warp &w, const Op &op, uint32_t mask) {
  set_predicate(w, op.row[0], ~w.predicate(op.row[1]), mask);
}

/// Calls f.template operator()<T>() for the T that `type` names; false if it is none of them.
template <class... Ts>
struct Types {};
template <class T>
constexpr Type type_v = std::is_same_v<T, uint8_t>    ? Type::u8
                        : std::is_same_v<T, uint16_t> ? Type::u16
                        : std::is_same_v<T, uint32_t> ? Type::u32
                        : std::is_same_v<T, uint64_t> ? Type::u64
                        : std::is_same_v<T, int8_t>   ? Type::s8
                        : std::is_same_v<T, int16_t>  ? Type::s16
                        : std::is_same_v<T, int32_t>  ? Type::s32
                        : std::is_same_v<T, int64_t>  ? Type::s64
                        : std::is_same_v<T, Half>     ? Type::f16
                        : std::is_same_v<T, Bfloat>   ? Type::bf16
                        : std::is_same_v<T, float>    ? Type::f32
                                                      : Type::f64;
template <class... Ts, class F>
bool with(Types<Ts...>, Type type, F f) {
  return ((type == type_v<Ts> && (f.template operator()<Ts>(), true)) || ...);
}
/// By size alone, 4 or 8 bytes.
template <class F>
void with_size(int bytes, F f) {
  bytes == 8 ? f.template operator()<uint64_t>() : f.template operator()<uint32_t>();
}
using Integers = Types<uint16_t, int16_t, uint32_t, int32_t, uint64_t, int64_t>;
using AllIntegers = Types<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, uint64_t, int64_t>;

}  // namespace rl::emulator::ptx
