// Arithmetic and comparisons of floating-point numbers; comparisons of integers too.
#include "emulator/ptx/decoder.h"
#include "emulator/ptx/floats.h"

namespace rl::emulator::ptx {
namespace {

/// a b + c rounded once, in a direction. The error of the nearest number tells which neighbour it is.
float directed(float a, float b, float c, Rounding r) {
  float nearest = __builtin_fmaf(a, b, c);
  if (!std::isfinite(nearest)) return nearest;
  const double product = static_cast<double>(a) * b;  // exact
  const double sum = product + c, part = sum - product;
  const double lost = (product - (sum - part)) + (c - part);
  const double error = (sum - nearest) + lost;
  constexpr float infinity = std::numeric_limits<float>::infinity();
  if (error < 0 && (r == Rounding::down || (r == Rounding::zero && nearest > 0)))
    return std::nextafter(nearest, -infinity);
  if (error > 0 && (r == Rounding::up || (r == Rounding::zero && nearest < 0)))
    return std::nextafter(nearest, infinity);
  return nearest;
}

constexpr auto saturated = [](auto x) { return x > 0 ? (x < 1 ? x : decltype(x)(1)) : decltype(x)(0); };  // NaN: 0

// One function for f32 and f64; numbers of 16 bits are computed in f64, whose product is exact, and rounded once.
constexpr auto add = [](auto a, auto b) { return a + b; };
constexpr auto subtract = [](auto a, auto b) { return a - b; };
constexpr auto multiply = [](auto a, auto b) { return a * b; };
constexpr auto divide = [](auto a, auto b) { return a / b; };
constexpr auto fused = [](auto a, auto b, auto c) {
  if constexpr (sizeof(a) == 4)
    return __builtin_fmaf(a, b, c);
  else
    return __builtin_fma(a, b, c);
};
constexpr auto negate = [](auto a) { return -a; };
constexpr auto absolute = [](auto a) { return std::fabs(a); };
// Of a NaN and a number the number; -0 is less than +0.
constexpr auto minimum = [](auto a, auto b) {
  if (std::isnan(a)) return b;
  if (std::isnan(b)) return a;
  return b < a || (a == b && std::signbit(b)) ? b : a;
};
constexpr auto maximum = [](auto a, auto b) {
  if (std::isnan(a)) return b;
  if (std::isnan(b)) return a;
  return a < b || (a == b && std::signbit(a)) ? b : a;
};
constexpr auto square_root = [](auto a) { return std::sqrt(a); };
constexpr auto reciprocal = [](auto a) { return 1 / a; };
constexpr auto reciprocal_root = [](auto a) { return 1 / std::sqrt(a); };
constexpr auto power_of_two = [](auto a) { return std::exp2(a); };
constexpr auto logarithm = [](auto a) { return std::log2(a); };
constexpr auto sine = [](auto a) { return std::sin(a); };
constexpr auto cosine = [](auto a) { return std::cos(a); };
constexpr auto tangent = [](auto a) { return std::tanh(a); };
constexpr auto sign_of_first = [](auto a, auto b) { return std::copysign(b, a); };

/// d = f(sources); flag: the result is a NaN if a source is.
template <class T, int sources, auto f>
void plain(Warp &w, const Op &op, uint32_t mask) {
  auto *d = w.row<Slot<T>>(op.row[0]);
  const auto *a = w.row<Slot<T>>(op.row[1]), *b = w.row<Slot<T>>(op.row[sources > 1 ? 2 : 1]),
             *c = w.row<Slot<T>>(op.row[sources > 2 ? 3 : 1]);
  lanes(mask, [=](int i) {
    if constexpr (sources == 1) d[i] = slot<T>(f(read<T>(a[i])));
    if constexpr (sources == 2) d[i] = slot<T>(f(read<T>(a[i]), read<T>(b[i])));
    if constexpr (sources == 3) d[i] = slot<T>(f(read<T>(a[i]), read<T>(b[i]), read<T>(c[i])));
  });
}

/// The same with .ftz, .sat and .NaN.
template <class T, int sources, auto f>
void adorned(Warp &w, const Op &op, uint32_t mask) {
  auto *d = w.row<Slot<T>>(op.row[0]);
  lanes(mask, [&](int i) {
    T x[3];
    bool nan = false;
    for (int s = 0; s < sources; s++) {
      x[s] = read<T>(w.row<Slot<T>>(op.row[1 + s])[i]);
      if constexpr (sizeof(T) == 4) x[s] = op.flush ? flushed(x[s]) : x[s];
      nan |= std::isnan(x[s]);
    }
    T y;
    if constexpr (sources == 1) y = f(x[0]);
    if constexpr (sources == 2) y = f(x[0], x[1]);
    if constexpr (sources == 3) y = f(x[0], x[1], x[2]);
    if constexpr (sizeof(T) == 4) y = op.flush ? flushed(y) : y;
    if (op.saturate) y = saturated(y);
    if (op.flag && nan) y = std::numeric_limits<T>::quiet_NaN();
    d[i] = slot<T>(y);
  });
}

/// Numbers of 16 bits, one or a pair in a register. flag as above; saturate is .relu where op.value says so.
template <class T, int sources, auto f, int count>
void small(Warp &w, const Op &op, uint32_t mask) {
  uint32_t *d = w.row<uint32_t>(op.row[0]);
  lanes(mask, [&](int i) {
    uint32_t packed = 0;
    for (int half = 0; half < count; half++) {
      double x[3];
      bool nan = false;
      for (int s = 0; s < sources; s++) {
        x[s] = to_float(T{static_cast<uint16_t>(w.row<uint32_t>(op.row[1 + s])[i] >> (16 * half))});
        nan |= std::isnan(x[s]);
      }
      double y;
      if constexpr (sources == 1) y = f(x[0]);
      if constexpr (sources == 2) y = f(x[0], x[1]);
      if constexpr (sources == 3) y = f(x[0], x[1], x[2]);
      if (op.saturate) y = op.value ? (y > 0 ? y : std::isnan(y) ? y : 0) : saturated(y);
      if (op.flag && nan) y = std::numeric_limits<double>::quiet_NaN();
      packed |= static_cast<uint32_t>(from_double<T>(y, Rounding::nearest).bits) << (16 * half);
    }
    d[i] = packed;
  });
}

void directed_op(Warp &w, const Op &op, uint32_t mask) {
  float *d = w.row<float>(op.row[0]);
  const float *a = w.row<float>(op.row[1]), *b = w.row<float>(op.row[2]), *c = w.row<float>(op.row[3]);
  lanes(mask, [&](int i) {
    const float y = directed(a[i], b[i], c[i], op.rounding);
    d[i] = op.saturate ? saturated(y) : y;
  });
}

template <int sources, auto f>
void emit(Decoder &d) {
  for (const char *accuracy : {"approx", "full"}) d.take(accuracy);
  const Rounding rounding = d.take_rounding();
  const bool flush = d.take("ftz"), relu = d.take("relu"), saturate = d.take("sat") || relu, nan = d.take("NaN");
  const Type type = d.take_type();
  const int bytes = bytes_of(type);
  int rows[4] = {d.result(d.operand(0), bytes)};
  if (d.operands() != sources + 1) d.fail("another number of operands");
  for (size_t i = 1; i <= sources; i++) rows[i] = d.source(d.operand(i), bytes);
  Execute run = nullptr;
  const bool plainly = !flush && !saturate && !nan;
  if (rounding != Rounding::nearest) {
    // a + b = a 1 + b, a b = a b - 0, a b + c
    if (type != Type::f32 || flush || nan || sources < 2 || d.opcode() == "div" || d.opcode() == "sub") {
      d.fail("unknown rounding");
    }
    if (d.opcode() == "add") {
      rows[3] = rows[2];
      rows[2] = d.number(0x3f800000, 4);
    } else if (d.opcode() == "mul") {
      rows[3] = d.number(0x80000000, 4);
    }
    run = &directed_op;
  } else if (type == Type::f32) {
    run = plainly ? &plain<float, sources, f> : &adorned<float, sources, f>;
  } else if (type == Type::f64) {
    run = plainly ? &plain<double, sources, f> : &adorned<double, sources, f>;
  } else if (type == Type::f16 || type == Type::f16x2) {
    run = type == Type::f16 ? &small<Half, sources, f, 1> : &small<Half, sources, f, 2>;
  } else if (type == Type::bf16 || type == Type::bf16x2) {
    run = type == Type::bf16 ? &small<Bfloat, sources, f, 1> : &small<Bfloat, sources, f, 2>;
  } else {
    d.fail("unknown type");
  }
  if (relu && type != Type::f16 && type != Type::f16x2 && type != Type::bf16 && type != Type::bf16x2) {
    d.fail("unknown modifier .relu");
  }
  if (bytes != 8 && (type == Type::f16 || type == Type::f16x2) && flush) d.fail("unknown modifier .ftz");
  Op &op = d.emit(run, {rows[0], rows[1], rows[2], rows[3]});
  op.rounding = rounding;
  op.flush = flush;
  op.saturate = saturate;
  op.flag = nan;
  op.value = relu;
}

// ---- comparisons: p = (a ? b) with c, q = !(a ? b) with c

template <class T>
auto compared(T x) {
  if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, Bfloat>)
    return to_float(x);
  else
    return x;
}
template <class T, auto f>
void compare(Warp &w, const Op &op, uint32_t mask) {
  const auto *a = w.row<Slot<T>>(op.row[2]), *b = w.row<Slot<T>>(op.row[3]);
  uint32_t bits = 0;
  for (int i = 0; i < 32; i++) {
    auto x = compared(read<T>(a[i])), y = compared(read<T>(b[i]));
    if constexpr (std::is_same_v<T, float>) {
      if (op.flush) x = flushed(x), y = flushed(y);
    }
    bits |= static_cast<uint32_t>(f(x, y)) << i;
  }
  uint32_t p = bits, q = ~bits;
  const uint32_t c = w.predicate(op.row[4]);
  if (op.value == 1) p &= c, q &= c;
  if (op.value == 2) p |= c, q |= c;
  if (op.value == 3) p ^= c, q ^= c;
  set_predicate(w, op.row[0], p, mask);
  set_predicate(w, op.row[1], q, mask);
}

template <class T>
bool is_unordered(T a, T b) {
  return a != a || b != b;
}
template <class T>
Execute comparison(const std::string &name) {
  if (name == "eq") return &compare<T, ([](auto a, auto b) { return a == b; })>;
  if (name == "lt" || name == "lo") return &compare<T, ([](auto a, auto b) { return a < b; })>;
  if (name == "le" || name == "ls") return &compare<T, ([](auto a, auto b) { return a <= b; })>;
  if (name == "gt" || name == "hi") return &compare<T, ([](auto a, auto b) { return a > b; })>;
  if (name == "ge" || name == "hs") return &compare<T, ([](auto a, auto b) { return a >= b; })>;
  // Of numbers "different" is false with a NaN, the forms with a u are true.
  if (name == "ne") return &compare<T, ([](auto a, auto b) { return !is_unordered(a, b) && a != b; })>;
  if constexpr (std::is_integral_v<T>) return nullptr;
  if (name == "equ") return &compare<T, ([](auto a, auto b) { return is_unordered(a, b) || a == b; })>;
  if (name == "neu") return &compare<T, ([](auto a, auto b) { return a != b; })>;
  if (name == "ltu") return &compare<T, ([](auto a, auto b) { return !(a >= b); })>;
  if (name == "leu") return &compare<T, ([](auto a, auto b) { return !(a > b); })>;
  if (name == "gtu") return &compare<T, ([](auto a, auto b) { return !(a <= b); })>;
  if (name == "geu") return &compare<T, ([](auto a, auto b) { return !(a < b); })>;
  if (name == "num") return &compare<T, ([](auto a, auto b) { return !is_unordered(a, b); })>;
  if (name == "nan") return &compare<T, ([](auto a, auto b) { return is_unordered(a, b); })>;
  return nullptr;
}

void emit_comparison(Decoder &d) {
  const std::string how = d.in().words[1];
  d.take(how.c_str());
  const bool flush = d.take("ftz");
  const uint64_t join = d.take("and") ? 1 : d.take("or") ? 2 : d.take("xor") ? 3 : 0;
  const Type type = d.take_type();
  const int bytes = bytes_of(type);
  const int a = d.source(d.operand(1), bytes), b = d.source(d.operand(2), bytes),
            c = join ? d.predicate(d.operand(3)) : d.number(0, 0);
  Operand second = d.operand(0);
  second.index = second.second;
  const int p = d.predicate_result(d.operand(0)), q = second.index >= 0 ? d.predicate_result(second) : d.temporary(4);
  Execute run = nullptr;
  using Comparable = Types<uint16_t, int16_t, uint32_t, int32_t, uint64_t, int64_t, Half, Bfloat, float, double>;
  with(Comparable{}, type, [&]<class T>() { run = comparison<T>(how); });
  if (!run) d.fail("unknown comparison");
  Op &op = d.emit(run, {p, q, a, b, c});
  op.value = join;
  op.flush = flush;
}

}  // namespace

bool decode_floating(Decoder &d) {
  const std::string &name = d.opcode();
  auto is = [&](const char *is_this) { return name == is_this; };
  if (is("setp")) {
    emit_comparison(d);
  } else if (is("add")) {
    emit<2, add>(d);
  } else if (is("sub")) {
    emit<2, subtract>(d);
  } else if (is("mul")) {
    emit<2, multiply>(d);
  } else if (is("fma") || is("mad")) {
    emit<3, fused>(d);
  } else if (is("div")) {
    emit<2, divide>(d);
  } else if (is("min")) {
    emit<2, minimum>(d);
  } else if (is("max")) {
    emit<2, maximum>(d);
  } else if (is("neg")) {
    emit<1, negate>(d);
  } else if (is("abs")) {
    emit<1, absolute>(d);
  } else if (is("sqrt")) {
    emit<1, square_root>(d);
  } else if (is("rcp")) {
    emit<1, reciprocal>(d);
  } else if (is("rsqrt")) {
    emit<1, reciprocal_root>(d);
  } else if (is("ex2")) {
    emit<1, power_of_two>(d);
  } else if (is("lg2")) {
    emit<1, logarithm>(d);
  } else if (is("sin")) {
    emit<1, sine>(d);
  } else if (is("cos")) {
    emit<1, cosine>(d);
  } else if (is("tanh")) {
    emit<1, tangent>(d);
  } else if (is("copysign")) {
    emit<2, sign_of_first>(d);
  } else {
    return false;
  }
  return true;
}

}  // namespace rl::emulator::ptx
