// mov with its packing, conversions of numbers and of addresses.
#include "emulator/ptx/decoder.h"
#include "emulator/ptx/floats.h"

namespace rl::emulator::ptx {
namespace {

// ---- mov

template <class T>
void move(Warp &w, const Op &op, uint32_t mask) {
  T *d = w.row<T>(op.row[0]);
  const T *a = w.row<T>(op.row[1]);
  lanes(mask, [=](int i) { d[i] = a[i]; });
}
void move_predicate(Warp &w, const Op &op, uint32_t mask) { set_predicate(w, op.row[0], w.predicate(op.row[1]), mask); }
/// op.count pieces of op.value bits, the lowest first, in one register.
template <class T>
void pack(Warp &w, const Op &op, uint32_t mask) {
  T *d = w.row<T>(op.row[0]);
  const uint64_t ones = (uint64_t{1} << op.value) - 1;
  lanes(mask, [&](int i) {
    uint64_t packed = 0;
    for (int k = 0; k < op.count; k++) {
      packed |= (w.row<uint32_t>(op.row[1 + k])[i] & ones) << (static_cast<uint64_t>(k) * op.value);
    }
    d[i] = static_cast<T>(packed);
  });
}
template <class T>
void unpack(Warp &w, const Op &op, uint32_t mask) {
  const T *a = w.row<T>(op.row[op.count]);
  const uint64_t ones = (uint64_t{1} << op.value) - 1;
  lanes(mask, [&](int i) {
    const uint64_t packed = a[i];
    for (int k = 0; k < op.count; k++) {
      w.row<uint32_t>(op.row[k])[i] = static_cast<uint32_t>(packed >> (static_cast<uint64_t>(k) * op.value) & ones);
    }
  });
}

void emit_move(Decoder &d) {
  const Type type = d.take_type();
  const Operand &to = d.operand(0), &from = d.operand(1);
  const int bytes = bytes_of(type);
  if (type == Type::pred) {
    const int a = d.predicate(from);
    d.emit(&move_predicate, {d.predicate_result(to), a});
  } else if (to.kind == Operand::list || from.kind == Operand::list) {
    const bool packs = from.kind == Operand::list;
    const std::vector<Operand> &pieces = packs ? from.items : to.items;
    const int piece = bytes / static_cast<int>(pieces.size());
    if (piece == 0 || piece > 4) d.fail("unknown pieces");
    std::vector<int> rows;
    if (packs) rows.push_back(d.result(to, bytes));
    for (const Operand &o : pieces) rows.push_back(packs ? d.source(o, piece) : d.result(o, piece));
    if (!packs) rows.push_back(d.source(from, bytes));
    const bool wide = bytes == 8;
    Op &op =
        d.emit(packs ? (wide ? &pack<uint64_t> : &pack<uint32_t>) : (wide ? &unpack<uint64_t> : &unpack<uint32_t>));
    std::copy(rows.begin(), rows.end(), op.row);
    op.count = static_cast<int>(pieces.size());
    op.value = static_cast<uint64_t>(piece) * 8;
  } else {
    const int a = d.source(from, bytes);
    d.emit(bytes == 8 ? &move<uint64_t> : &move<uint32_t>, {d.result(to, bytes), a});
  }
}

// ---- cvt

/// To the nearest integer that the type holds; NaN as the manual has it.
template <class D, class S>
D to_integer(S value, Rounding r) {
  const double x = static_cast<double>(value);
  if (std::isnan(x)) {
    const bool zero = sizeof(S) < 8 && sizeof(D) < 8;
    return zero ? D{0} : static_cast<D>(std::make_unsigned_t<D>{1} << (sizeof(D) * 8 - 1));
  }
  const double y = to_integral(x, r);
  constexpr double above =
      sizeof(D) == 8 ? (std::is_signed_v<D> ? 0x1p63 : 0x1p64) : static_cast<double>(std::numeric_limits<D>::max()) + 1;
  if (y >= above) return std::numeric_limits<D>::max();
  if (y < static_cast<double>(std::numeric_limits<D>::min())) return std::numeric_limits<D>::min();
  return static_cast<D>(y);
}

template <class T>
constexpr bool is_number_of_16 = std::is_same_v<T, Half> || std::is_same_v<T, Bfloat>;

template <class D, class S>
D converted(S s, const Op &op) {
  if constexpr (std::is_integral_v<S> && std::is_integral_v<D>) {
    if (op.saturate) {
      using W = __int128;
      const W low = std::numeric_limits<D>::min(), high = std::numeric_limits<D>::max();
      const W x = s;
      return static_cast<D>(x < low ? low : x > high ? high : x);
    }
    return static_cast<D>(s);
  } else if constexpr (std::is_integral_v<S>) {
    // An integer of 64 bits in one rounding; a double holds the others, and so does a float's sum of roundings to nearest.
    if constexpr (is_number_of_16<D>) {
      return from_double<D>(static_cast<double>(s), op.rounding);
    } else {
      if (op.rounding == Rounding::nearest) return static_cast<D>(s);
      return from_double<D>(static_cast<double>(s), op.rounding);
    }
  } else {
    if constexpr (std::is_integral_v<D>) {
      if constexpr (is_number_of_16<S>) {
        return to_integer<D>(to_float(s), op.rounding);
      } else {
        if constexpr (sizeof(S) == 4) s = op.flush ? flushed(s) : s;
        return to_integer<D>(s, op.rounding);
      }
    } else {
      if constexpr (std::is_same_v<S, float> && is_number_of_16<D>) {
        if (op.rounding == Rounding::nearest && !op.saturate && !op.value) return nearest_16_bits<D>(s);
      }
      double x;
      if constexpr (is_number_of_16<S>)
        x = to_float(s);
      else
        x = static_cast<double>(s);
      if constexpr (std::is_same_v<S, float>) x = op.flush ? static_cast<double>(flushed(s)) : x;
      if (op.flag) x = to_integral(x, op.rounding);  // .rni and its like: an integer of the same type
      if (op.saturate) x = x > 0 ? (x < 1 ? x : 1) : 0;
      if (op.value) x = x > 0 || std::isnan(x) ? x : 0;  // .relu
      const D y = from_double<D>(x, op.flag ? Rounding::nearest : op.rounding);
      if constexpr (std::is_same_v<D, float>)
        return op.flush ? flushed(y) : y;
      else
        return y;
    }
  }
}

template <class D, class S>
void convert(Warp &w, const Op &op, uint32_t mask) {
  auto *d = w.row<Slot<D>>(op.row[0]);
  const auto *a = w.row<Slot<S>>(op.row[1]);
  lanes(mask, [&](int i) { d[i] = slot<D>(converted<D, S>(read<S>(a[i]), op)); });
}
/// Two f32: the first becomes the upper half.
template <class D>
void convert_pair(Warp &w, const Op &op, uint32_t mask) {
  uint32_t *d = w.row<uint32_t>(op.row[0]);
  const float *a = w.row<float>(op.row[1]), *b = w.row<float>(op.row[2]);
  lanes(mask,
        [&](int i) { d[i] = static_cast<uint32_t>(converted<D>(a[i], op).bits) << 16 | converted<D>(b[i], op).bits; });
}
/// f32 with ten bits of fraction, ties away from zero.
void convert_tf32(Warp &w, const Op &op, uint32_t mask) {
  uint32_t *d = w.row<uint32_t>(op.row[0]);
  const float *a = w.row<float>(op.row[1]);
  lanes(mask, [&](int i) {
    d[i] = std::isfinite(a[i])
               ? (std::bit_cast<uint32_t>(a[i]) + (op.rounding == Rounding::zero ? 0 : 0x1000)) & ~0x1fffu
               : std::bit_cast<uint32_t>(a[i]);
  });
}

void emit_conversion(Decoder &d) {
  bool integral = false;
  for (const std::string &word : d.in().words)
    integral |= word == "rni" || word == "rzi" || word == "rmi" || word == "rpi";
  const Rounding rounding = d.take_rounding();
  const bool flush = d.take("ftz"), saturate = d.take("sat"), relu = d.take("relu");
  const Type to = d.take_type(), from = d.take_type();
  const int bytes = bytes_of(to);
  Execute run = nullptr;
  if (to == Type::bf16x2 || to == Type::f16x2) {
    if (from != Type::f32 || saturate) d.fail("unknown conversion");
    const int a = d.source(d.operand(1), 4), b = d.source(d.operand(2), 4);
    Op &op = d.emit(to == Type::f16x2 ? &convert_pair<Half> : &convert_pair<Bfloat>, {d.result(d.operand(0), 4), a, b});
    op.rounding = rounding;
    op.value = relu;
    op.flush = flush;
    return;
  }
  using Numbers =
      Types<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, uint64_t, int64_t, Half, Bfloat, float, double>;
  if (to == Type::tf32) {
    if (from != Type::f32 || (rounding != Rounding::nearest_away && rounding != Rounding::zero)) {
      d.fail("unknown conversion");
    }
    run = &convert_tf32;
  } else {
    with(Numbers{}, to, [&]<class D>() { with(Numbers{}, from, [&]<class S>() { run = &convert<D, S>; }); });
  }
  if (!run) d.fail("unknown conversion");
  const int a = d.source(d.operand(1), bytes_of(from));
  const bool widens = bytes < 8 && d.is_wide(d.operand(0));
  const int result = widens ? d.temporary(4) : d.result(d.operand(0), bytes);
  Op &op = d.emit(run, {result, a});
  op.rounding = rounding;
  op.flush = flush;
  op.saturate = saturate;
  op.value = relu;
  op.flag = integral;
  if (widens) d.widen(d.operand(0), result, to);
}

// ---- cvta

void move_address(Warp &w, const Op &op, uint32_t mask) {
  uint64_t *d = w.row<uint64_t>(op.row[0]);
  const uint64_t *a = w.row<uint64_t>(op.row[1]);
  lanes(mask, [=](int i) { d[i] = a[i] + op.value; });
}

void emit_address(Decoder &d) {
  const bool to = d.take("to");
  const Space space = d.take_space();
  if (bytes_of(d.take_type()) != 8) d.fail("unknown address");
  const int a = d.source(d.operand(1), 8);
  uint64_t window = space == Space::shared  ? kSharedWindow
                    : space == Space::local ? kLocalWindow
                    : space == Space::param ? kParamWindow
                                            : 0;
  d.emit(&move_address, {d.result(d.operand(0), 8), a}).value = to ? -window : window;
}

}  // namespace

bool decode_conversion(Decoder &d) {
  const std::string &name = d.opcode();
  if (name == "mov") {
    emit_move(d);
  } else if (name == "cvt") {
    emit_conversion(d);
  } else if (name == "cvta") {
    emit_address(d);
  } else {
    return false;
  }
  return true;
}

}  // namespace rl::emulator::ptx
