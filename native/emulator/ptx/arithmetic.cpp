// Integers, bits and predicates.
#include <utility>

#include "emulator/ptx/decoder.h"
#include "emulator/ptx/warp.h"

namespace rl::emulator::ptx {
namespace {

bool is_float(Type t) {
  return t == Type::f16 || t == Type::bf16 || t == Type::f32 || t == Type::f64 || t == Type::f16x2 || t == Type::bf16x2;
}
template <class T>
using Wider = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
template <class T>
constexpr int bits_of = static_cast<int>(sizeof(T) * 8);

template <class T>
using Unsigned = std::make_unsigned_t<T>;

// Sums and low products do not know signs: unsigned, where wrapping is defined.
constexpr auto add = [](auto a, auto b) { return static_cast<decltype(a)>(a + b); };
constexpr auto subtract = [](auto a, auto b) { return static_cast<decltype(a)>(a - b); };
constexpr auto multiply = [](auto a, auto b) {
  return static_cast<decltype(a)>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
};
constexpr auto multiply_add = [](auto a, auto b, auto c) {
  return static_cast<decltype(a)>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b) + static_cast<uint64_t>(c));
};
constexpr auto multiply_high = [](auto a, auto b) {
  using T = decltype(a);
  return static_cast<T>((static_cast<Wider<T>>(a) * b) >> bits_of<T>);
};
constexpr auto multiply_high_add = [](auto a, auto b, auto c) {
  return static_cast<decltype(a)>(static_cast<Unsigned<decltype(a)>>(multiply_high(a, b)) +
                                  static_cast<Unsigned<decltype(a)>>(c));
};
// A quotient by zero is all ones on a GPU, and a remainder the dividend.
constexpr auto divide = [](auto a, auto b) {
  using T = decltype(a);
  if (b == 0) return static_cast<T>(-1);
  return static_cast<T>(static_cast<Wider<T>>(a) / b);
};
constexpr auto remainder = [](auto a, auto b) {
  using T = decltype(a);
  return b == 0 ? a : static_cast<T>(static_cast<Wider<T>>(a) % b);
};
constexpr auto minimum = [](auto a, auto b) { return b < a ? b : a; };
constexpr auto maximum = [](auto a, auto b) { return a < b ? b : a; };
constexpr auto negate = [](auto a) { return static_cast<decltype(a)>(-static_cast<Unsigned<decltype(a)>>(a)); };
constexpr auto absolute = [](auto a) { return a < 0 ? negate(a) : a; };
constexpr auto bit_and = [](auto a, auto b) { return static_cast<decltype(a)>(a & b); };
constexpr auto bit_or = [](auto a, auto b) { return static_cast<decltype(a)>(a | b); };
constexpr auto bit_xor = [](auto a, auto b) { return static_cast<decltype(a)>(a ^ b); };
constexpr auto bit_not = [](auto a) { return static_cast<decltype(a)>(~a); };
// Shifts by the width or more leave zeros, or the sign.
constexpr auto shift_left = [](auto a, uint32_t n) {
  return n >= static_cast<uint32_t>(bits_of<decltype(a)>) ? decltype(a){0} : static_cast<decltype(a)>(a << n);
};
constexpr auto shift_right = [](auto a, uint32_t n) {
  using T = decltype(a);
  const uint32_t most = static_cast<uint32_t>(bits_of<T>) - 1;
  if (std::is_signed_v<T>) return static_cast<T>(a >> std::min(n, most));
  return n > most ? T{0} : static_cast<T>(a >> n);
};
constexpr auto count_bits = [](auto a) { return static_cast<uint32_t>(std::popcount(a)); };
constexpr auto leading_zeros = [](auto a) { return static_cast<uint32_t>(std::countl_zero(a)); };
constexpr auto reverse_bits = [](auto a) {
  decltype(a) r = 0;
  for (int i = 0; i < bits_of<decltype(a)>; i++) r = static_cast<decltype(a)>(r << 1 | ((a >> i) & 1));
  return r;
};
/// The place of the highest bit that is not the sign; all ones if there is none. As a shift: how far it is from the top.
template <bool shift>
constexpr auto find_bit = [](auto a) {
  using U = Unsigned<decltype(a)>;
  const U bits = static_cast<U>(a < 0 ? ~a : a);
  if (bits == 0) return ~uint32_t{0};
  const uint32_t zeros = static_cast<uint32_t>(std::countl_zero(bits));
  return shift ? zeros : static_cast<uint32_t>(bits_of<U>) - 1 - zeros;
};
/// `length` bits of a from `from` on; a signed field keeps the sign of its highest bit, and of a's where it reaches beyond.
template <class T>
T extract(T a, uint32_t from, uint32_t length) {
  using U = Unsigned<T>;
  from &= 255;
  length &= 255;
  constexpr uint32_t width = static_cast<uint32_t>(bits_of<T>);
  if (length == 0) return 0;
  const U sign = std::is_signed_v<T> ? static_cast<U>(a) >> std::min(from + length - 1, width - 1) & 1 : 0;
  U field = from >= width ? 0 : static_cast<U>(a) >> from;
  const uint32_t kept = from >= width ? 0 : std::min(length, width - from);
  if (kept < width) {
    const U low = kept ? static_cast<U>((U{1} << kept) - 1) : 0;
    field = static_cast<U>((field & low) | (sign ? static_cast<U>(~low) : 0));
  }
  return static_cast<T>(field);
}
/// b with `length` of its bits from `from` on taken from a.
template <class T>
T insert(T a, T b, uint32_t from, uint32_t length) {
  from &= 255;
  length &= 255;
  constexpr uint32_t width = static_cast<uint32_t>(bits_of<T>);
  if (from >= width || length == 0) return b;
  const T ones = length >= width ? ~T{0} : static_cast<T>((T{1} << length) - 1);
  const T mask = static_cast<T>(ones << from);
  return static_cast<T>((b & ~mask) | (static_cast<T>(a << from) & mask));
}
template <class T>
void extract_op(Warp &w, const Op &op, uint32_t mask) {
  auto *d = w.row<Slot<T>>(op.row[0]);
  const auto *a = w.row<Slot<T>>(op.row[1]);
  const uint32_t *from = w.row<uint32_t>(op.row[2]), *length = w.row<uint32_t>(op.row[3]);
  lanes(mask, [=](int i) { d[i] = slot<T>(extract<T>(read<T>(a[i]), from[i], length[i])); });
}
template <class T>
void insert_op(Warp &w, const Op &op, uint32_t mask) {
  auto *d = w.row<T>(op.row[0]);
  const T *a = w.row<T>(op.row[1]), *b = w.row<T>(op.row[2]);
  const uint32_t *from = w.row<uint32_t>(op.row[3]), *length = w.row<uint32_t>(op.row[4]);
  lanes(mask, [=](int i) { d[i] = insert<T>(a[i], b[i], from[i], length[i]); });
}

template <bool left, bool wrap>
constexpr auto funnel = [](uint32_t low, uint32_t high, uint32_t n) {
  const uint64_t both = uint64_t{high} << 32 | low;
  n = wrap ? n & 31 : std::min(n, 32u);
  return static_cast<uint32_t>(left ? (both << n) >> 32 : both >> n);
};
/// Four bytes of the eight of b and a, each picked by four bits; their highest: the byte's sign, eight times.
constexpr auto permute = [](uint32_t a, uint32_t b, uint32_t select) {
  const uint64_t bytes = uint64_t{b} << 32 | a;
  uint32_t d = 0;
  for (int i = 0; i < 4; i++) {
    const uint32_t pick = select >> (4 * i) & 15;
    uint32_t byte = static_cast<uint32_t>(bytes >> (8 * (pick & 7))) & 0xff;
    if (pick & 8) byte = byte & 0x80 ? 0xff : 0;
    d |= byte << (8 * i);
  }
  return d;
};
/// Bit by bit the entry of a table of eight: number 4 a + 2 b + c.
void logic(Warp &w, const Op &op, uint32_t mask) {
  auto *d = w.row<uint32_t>(op.row[0]);
  const auto *a = w.row<uint32_t>(op.row[1]), *b = w.row<uint32_t>(op.row[2]), *c = w.row<uint32_t>(op.row[3]);
  const uint64_t table = op.value;
  lanes(mask, [=](int i) {
    uint32_t r = 0;
    for (uint32_t k = 0; k < 8; k++) {
      if (table >> k & 1) r |= (k & 4 ? a[i] : ~a[i]) & (k & 2 ? b[i] : ~b[i]) & (k & 1 ? c[i] : ~c[i]);
    }
    d[i] = r;
  });
}

/// d = x + y + carry, with the carry kept: y is b, ~b (a difference), or a product's half.
enum class With { sum, difference, low_product, high_product };
template <class T, With with, bool carry_in, bool carry_out>
void carried(Warp &w, const Op &op, uint32_t mask) {
  auto *d = w.row<T>(op.row[0]);
  const T *a = w.row<T>(op.row[1]), *b = w.row<T>(op.row[2]);
  const T *c = with >= With::low_product ? w.row<T>(op.row[3]) : nullptr;
  lanes(mask, [&](int i) {
    constexpr bool subtracts = with == With::difference;
    T x = a[i], y = subtracts ? static_cast<T>(~b[i]) : b[i];
    if (c) {
      x = with == With::low_product ? multiply(a[i], b[i]) : multiply_high(a[i], b[i]);
      y = c[i];
    }
    // A difference's carry is a borrow.
    const unsigned in = carry_in ? w.carry[i] ^ (subtracts ? 1u : 0u) : subtracts ? 1u : 0u;
    const unsigned __int128 sum = static_cast<unsigned __int128>(x) + y + in;
    if (carry_out) w.carry[i] = (static_cast<uint32_t>(sum >> bits_of<T>) & 1) ^ (subtracts ? 1u : 0u);
    d[i] = static_cast<T>(sum);
  });
}

template <With with>
void emit_carried(Decoder &d, bool in) {
  const bool out = d.take("cc");
  const int bytes = bytes_of(d.take_type());
  with_size(bytes, [&]<class T>() {
    const Execute run = in ? (out ? &carried<T, with, true, true> : &carried<T, with, true, false>)
                           : (out ? &carried<T, with, false, true> : &carried<T, with, false, false>);
    const int result = d.result(d.operand(0), bytes), a = d.source(d.operand(1), bytes),
              b = d.source(d.operand(2), bytes);
    d.emit(run, {result, a, b, with >= With::low_product ? d.source(d.operand(3), bytes) : 0});
  });
}

Type as_unsigned(Type t) {
  switch (t) {
    case Type::s8:
      return Type::u8;
    case Type::s16:
      return Type::u16;
    case Type::s32:
      return Type::u32;
    case Type::s64:
      return Type::u64;
    default:
      return t;
  }
}

template <auto f, class List = Integers>
void emit_unary(Decoder &d, Type type) {
  const int bytes = bytes_of(type);
  const int a = d.source(d.operand(1), bytes);
  if (!with(List{}, type, [&]<class T>() {
        using D = decltype(f(T{}));
        d.emit(&unary<D, T, f>, {d.result(d.operand(0), static_cast<int>(sizeof(D))), a});
      })) {
    d.fail("unknown type");
  }
}
template <auto f, bool shift = false, class List = Integers>
void emit_binary(Decoder &d, Type type) {
  const int bytes = bytes_of(type);
  const int a = d.source(d.operand(1), bytes), b = d.source(d.operand(2), shift ? 4 : bytes);
  if (!with(List{}, type, [&]<class T>() {
        using B = std::conditional_t<shift, uint32_t, T>;
        d.emit(&binary<T, T, B, f>, {d.result(d.operand(0), bytes), a, b});
      })) {
    d.fail("unknown type");
  }
}
template <auto f>
void emit_ternary(Decoder &d, Type type) {
  const int bytes = bytes_of(type);
  const int a = d.source(d.operand(1), bytes), b = d.source(d.operand(2), bytes), c = d.source(d.operand(3), bytes);
  if (!with(Integers{}, type,
            [&]<class T>() { d.emit(&ternary<T, T, T, f>, {d.result(d.operand(0), bytes), a, b, c}); })) {
    d.fail("unknown type");
  }
}

template <class T, bool adds>
void wide_product(Warp &w, const Op &op, uint32_t mask) {
  using D = std::conditional_t<sizeof(T) == 4, std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>,
                               std::conditional_t<std::is_signed_v<T>, int32_t, uint32_t>>;
  using U = Unsigned<D>;
  auto *d = w.row<U>(op.row[0]);
  const auto *a = w.row<Slot<T>>(op.row[1]), *b = w.row<Slot<T>>(op.row[2]);
  const U *c = adds ? w.row<U>(op.row[3]) : nullptr;
  lanes(mask, [=](int i) { d[i] = static_cast<U>(D{read<T>(a[i])} * D{read<T>(b[i])}) + (adds ? c[i] : 0); });
}

void emit_product(Decoder &d, bool adds) {
  if (d.take("wide")) {
    const Type type = d.take_type();
    const int bytes = bytes_of(type);
    if (!with(Types<uint16_t, int16_t, uint32_t, int32_t>{}, type, [&]<class T>() {
          const int a = d.source(d.operand(1), bytes), b = d.source(d.operand(2), bytes),
                    c = adds ? d.source(d.operand(3), 2 * bytes) : 0;
          d.emit(adds ? &wide_product<T, true> : &wide_product<T, false>, {d.result(d.operand(0), 2 * bytes), a, b, c});
        })) {
      d.fail("unknown type");
    }
  } else if (d.take("hi")) {
    adds ? emit_ternary<multiply_high_add>(d, d.take_type()) : emit_binary<multiply_high>(d, d.take_type());
  } else {
    if (!d.take("lo")) d.fail("expected .lo, .hi or .wide");
    const Type type = as_unsigned(d.take_type());
    adds ? emit_ternary<multiply_add>(d, type) : emit_binary<multiply>(d, type);
  }
}

template <auto f>
void emit_logic(Decoder &d, Type type) {
  if (type != Type::pred) return emit_binary<f>(d, type);
  const int a = d.predicate(d.operand(1)), b = d.predicate(d.operand(2));
  d.emit([](Warp &w, const Op &op,
            uint32_t mask) { set_predicate(w, op.row[0], f(w.predicate(op.row[1]), w.predicate(op.row[2])), mask); },
         {d.predicate_result(d.operand(0)), a, b});
}

template <class T>
void select(Warp &w, const Op &op, uint32_t mask) {
  T *d = w.row<T>(op.row[0]);
  const T *a = w.row<T>(op.row[1]), *b = w.row<T>(op.row[2]);
  const uint32_t p = w.predicate(op.row[3]);
  lanes(mask, [=](int i) { d[i] = p >> i & 1 ? a[i] : b[i]; });
}

}  // namespace

bool decode_arithmetic(Decoder &d) {
  const std::string &name = d.opcode();
  const Type type = d.peek_type();
  if (name == "selp") {
    const int bytes = bytes_of(d.take_type());
    const int a = d.source(d.operand(1), bytes), b = d.source(d.operand(2), bytes), p = d.predicate(d.operand(3));
    d.emit(bytes == 8 ? &select<uint64_t> : &select<uint32_t>, {d.result(d.operand(0), bytes), a, b, p});
    return true;
  }
  if (is_float(type)) return false;
  auto is = [&](const char *is_this) { return name == is_this; };
  auto has_carry = [&] {
    const auto &words = d.in().words;
    return std::find(words.begin(), words.end(), "cc") != words.end();
  };
  if ((is("add") && has_carry()) || is("addc")) {
    emit_carried<With::sum>(d, is("addc"));
  } else if ((is("sub") && has_carry()) || is("subc")) {
    emit_carried<With::difference>(d, is("subc"));
  } else if ((is("mad") && has_carry()) || is("madc")) {
    if (d.take("lo")) {
      emit_carried<With::low_product>(d, is("madc"));
    } else {
      if (!d.take("hi") || type == Type::s32 || type == Type::s64) d.fail("unknown product");
      emit_carried<With::high_product>(d, is("madc"));
    }
  } else if (is("add")) {
    emit_binary<add>(d, as_unsigned(d.take_type()));
  } else if (is("sub")) {
    emit_binary<subtract>(d, as_unsigned(d.take_type()));
  } else if (is("mul")) {
    emit_product(d, false);
  } else if (is("mad")) {
    emit_product(d, true);
  } else if (is("div")) {
    emit_binary<divide>(d, d.take_type());
  } else if (is("rem")) {
    emit_binary<remainder>(d, d.take_type());
  } else if (is("min")) {
    emit_binary<minimum>(d, d.take_type());
  } else if (is("max")) {
    emit_binary<maximum>(d, d.take_type());
  } else if (is("neg")) {
    emit_unary<negate>(d, d.take_type());
  } else if (is("abs")) {
    emit_unary<absolute>(d, d.take_type());
  } else if (is("and")) {
    emit_logic<bit_and>(d, d.take_type());
  } else if (is("or")) {
    emit_logic<bit_or>(d, d.take_type());
  } else if (is("xor")) {
    emit_logic<bit_xor>(d, d.take_type());
  } else if (is("not")) {
    d.take_type();
    if (type != Type::pred) {
      emit_unary<bit_not>(d, type);
    } else {
      const int a = d.predicate(d.operand(1));
      d.emit(&predicate_not, {d.predicate_result(d.operand(0)), a});
    }
  } else if (is("shl")) {
    emit_binary<shift_left, true>(d, as_unsigned(d.take_type()));
  } else if (is("shr")) {
    emit_binary<shift_right, true>(d, d.take_type());
  } else if (is("shf")) {
    const bool left = d.take("l"), wrap = d.take("wrap");
    if ((!left && !d.take("r")) || (!wrap && !d.take("clamp")) || d.take_type() != Type::u32) d.fail("unknown shift");
    left ? (wrap ? emit_ternary<funnel<true, true>>(d, Type::u32) : emit_ternary<funnel<true, false>>(d, Type::u32))
         : (wrap ? emit_ternary<funnel<false, true>>(d, Type::u32) : emit_ternary<funnel<false, false>>(d, Type::u32));
  } else if (is("prmt")) {
    emit_ternary<permute>(d, d.take_type());
  } else if (is("lop3")) {
    d.take_type();
    if (d.operands() != 5 || d.operand(4).kind != Operand::number) d.fail("expected a table");
    const int a = d.source(d.operand(1), 4), b = d.source(d.operand(2), 4), c = d.source(d.operand(3), 4);
    d.emit(&logic, {d.result(d.operand(0), 4), a, b, c}).value = d.operand(4).value;
  } else if (is("bfe") || is("bfi")) {
    const bool inserts = is("bfi");
    const Type field = d.take_type();
    const int bytes = bytes_of(field), first = inserts ? 3 : 2;
    int rows[5] = {d.result(d.operand(0), bytes)};
    for (int i = 1; i < first + 2; i++) rows[i] = d.source(d.operand(static_cast<size_t>(i)), i < first ? bytes : 4);
    if (!with(Types<uint32_t, uint64_t, int32_t, int64_t>{}, field, [&]<class T>() {
          d.emit(inserts ? &insert_op<Unsigned<T>> : &extract_op<T>, {rows[0], rows[1], rows[2], rows[3], rows[4]});
        })) {
      d.fail("unknown type");
    }
  } else if (is("bfind")) {
    const bool shift = d.take("shiftamt");
    shift ? emit_unary<find_bit<true>>(d, d.take_type()) : emit_unary<find_bit<false>>(d, d.take_type());
  } else if (is("brev")) {
    emit_unary<reverse_bits>(d, as_unsigned(d.take_type()));
  } else if (is("popc")) {
    emit_unary<count_bits, Types<uint32_t, uint64_t>>(d, d.take_type());
  } else if (is("clz")) {
    emit_unary<leading_zeros, Types<uint32_t, uint64_t>>(d, d.take_type());
  } else {
    return false;
  }
  return true;
}

}  // namespace rl::emulator::ptx
