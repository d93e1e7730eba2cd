// What the lanes of a warp do together: shuffles, votes, matrix loads and products; barriers.
#include <algorithm>

#include "emulator/ptx/decoder.h"
#include "emulator/ptx/floats.h"

namespace rl::emulator::ptx {
namespace {

constexpr int kMask = 14;     // the row of the member mask; -1: the whole warp
constexpr int kAddress = 15;  // of an address

// ---- shfl: rows: result, predicate, value, lane, clamp

enum Shuffles { kUp, kDown, kButterfly, kIndex };

void shuffle(Warp &w, const Op &op, uint32_t mask) {
  uint32_t *d = w.row<uint32_t>(op.row[0]);
  uint32_t values[32], valid = 0;
  std::copy_n(w.row<uint32_t>(op.row[2]), 32, values);
  for (int i = 0; i < 32; i++) {
    if (!(mask >> i & 1)) continue;
    const int by = static_cast<int>(w.row<uint32_t>(op.row[3])[i] & 31);
    const uint32_t c = w.row<uint32_t>(op.row[4])[i];
    const int segment = static_cast<int>(c >> 8 & 31), clamp = static_cast<int>(c & 31);
    const int least = i & segment, most = least | (clamp & ~segment);
    int from = i;
    bool in = false;
    switch (static_cast<Shuffles>(op.value)) {
      case kUp:
        from = i - by;
        in = from >= most;
        break;
      case kDown:
        from = i + by;
        in = from <= most;
        break;
      case kButterfly:
        from = i ^ by;
        in = from <= most;
        break;
      case kIndex:
        from = least | (by & ~segment);
        in = from <= most;
    }
    if (!in) from = i;
    if (!(mask >> from & 1))
      w.fail("divergent-shuffle", op, i, "reads lane " + std::to_string(from) + ", which is not here");
    d[i] = values[from];
    valid |= static_cast<uint32_t>(in) << i;
  }
  set_predicate(w, op.row[1], valid, mask);
}

// ---- votes

void vote(Warp &w, const Op &op, uint32_t mask) {
  const uint32_t bits = w.predicate(op.row[1]) & mask;
  switch (op.value) {
    case 0:
      lanes(mask, [&, d = w.row<uint32_t>(op.row[0])](int i) { d[i] = bits; });
      break;
    case 1:
      set_predicate(w, op.row[0], bits == mask ? ~0u : 0, mask);
      break;
    case 2:
      set_predicate(w, op.row[0], bits ? ~0u : 0, mask);
      break;
    default:
      set_predicate(w, op.row[0], bits == mask || !bits ? ~0u : 0, mask);
  }
}
void active_mask(Warp &w, const Op &op, uint32_t mask) {
  lanes(mask, [=, d = w.row<uint32_t>(op.row[0])](int i) { d[i] = mask; });
}
/// The lanes whose value is mine.
template <class T>
void match_any(Warp &w, const Op &op, uint32_t mask) {
  const T *a = w.row<T>(op.row[1]);
  uint32_t found[32] = {};
  for (int i = 0; i < 32; i++) {
    for (int k = 0; k < 32; k++) found[i] |= static_cast<uint32_t>((mask >> k & 1) && a[i] == a[k]) << k;
  }
  lanes(mask, [&, d = w.row<uint32_t>(op.row[0])](int i) { d[i] = found[i]; });
}
template <class T, auto f>
void reduce(Warp &w, const Op &op, uint32_t mask) {
  const uint32_t *a = w.row<uint32_t>(op.row[1]);
  T r = read<T>(a[std::countr_zero(mask)]);
  for (uint32_t rest = mask & (mask - 1); rest; rest &= rest - 1) r = f(r, read<T>(a[std::countr_zero(rest)]));
  lanes(mask, [&, d = w.row<uint32_t>(op.row[0])](int i) { d[i] = slot<T>(r); });
}

// ---- matrices

/// Lane l's address is that of row l % 8 of matrix l / 8. Lane l gets elements 2 (l % 4) and the next of row l / 4; flag:
/// of the transposed matrix.
void load_matrix(Warp &w, const Op &op, uint32_t) {
  uint16_t m[4][8][8];
  for (int i = 0; i < 8 * op.count; i++) {
    std::memcpy(m[i / 8][i % 8],
                w.reach(Space::shared, w.row<uint32_t>(op.row[kAddress])[i] + static_cast<uint64_t>(op.offset), 16,
                        Access::read, op, i),
                16);
  }
  for (int i = 0; i < 32; i++) {
    const int r = i / 4, c = i % 4 * 2;
    for (int k = 0; k < op.count; k++) {
      const uint16_t low = op.saturate ? m[k][c][r] : m[k][r][c], high = op.saturate ? m[k][c + 1][r] : m[k][r][c + 1];
      w.row<uint32_t>(op.row[k])[i] = static_cast<uint32_t>(high) << 16 | low;
    }
  }
}

/// d = a b + c, 16 x 8 x k. Rows: d 0-3, a 4-7, b 8-9, c 10-13. With g = lane / 4 and t = lane % 4 the fragments are
/// c: rows g, g + 8, columns 2t, 2t + 1; a and b of 16 bits: pairs along k at 2t and 2t + 8; of tf32: k = t and t + 4.
void multiply_tiles(const float (&a)[16][16], const float (&b)[16][8], int depth, Warp &w, const Op &op) {
  float c[16][8];
  auto row_of = [](int lane, int i) { return lane / 4 + i / 2 * 8; };
  auto column_of = [](int lane, int i) { return lane % 4 * 2 + i % 2; };
  for (int i = 0; i < 4; i++) {
    const float *from = w.row<float>(op.row[10 + i]);
    for (int lane = 0; lane < 32; lane++) c[row_of(lane, i)][column_of(lane, i)] = from[lane];
  }
  for (int m = 0; m < 16; m++) {
    for (int k = 0; k < depth; k++) {
      for (int n = 0; n < 8; n++) c[m][n] = __builtin_fmaf(a[m][k], b[k][n], c[m][n]);
    }
  }
  for (int i = 0; i < 4; i++) {
    float *to = w.row<float>(op.row[i]);
    for (int lane = 0; lane < 32; lane++) to[lane] = c[row_of(lane, i)][column_of(lane, i)];
  }
}
template <class T>
void multiply_16_bits(Warp &w, const Op &op, uint32_t) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; lane++) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; i++) {
      const uint32_t pair = w.row<uint32_t>(op.row[4 + i])[lane];
      for (int half = 0; half < 2; half++) {
        a[g + i % 2 * 8][2 * t + i / 2 * 8 + half] = to_float(T{static_cast<uint16_t>(pair >> (16 * half))});
      }
    }
    for (int i = 0; i < 2; i++) {
      const uint32_t pair = w.row<uint32_t>(op.row[8 + i])[lane];
      for (int half = 0; half < 2; half++) {
        b[2 * t + i * 8 + half][g] = to_float(T{static_cast<uint16_t>(pair >> (16 * half))});
      }
    }
  }
  multiply_tiles(a, b, 16, w, op);
}
void multiply_tf32(Warp &w, const Op &op, uint32_t) {
  float a[16][16], b[16][8];
  auto number = [&](int row, int lane) { return std::bit_cast<float>(w.row<uint32_t>(op.row[row])[lane] & ~0x1fffu); };
  for (int lane = 0; lane < 32; lane++) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; i++) a[g + i % 2 * 8][t + i / 2 * 4] = number(4 + i, lane);
    for (int i = 0; i < 2; i++) b[t + i * 4][g] = number(8 + i, lane);
  }
  multiply_tiles(a, b, 8, w, op);
}

Op &together(Op &op, int mask) {
  op.kind = Kind::converged;
  op.row[kMask] = mask;
  return op;
}

const std::vector<Operand> &list(Decoder &d, size_t i, size_t count) {
  if (d.operand(i).kind != Operand::list || d.operand(i).items.size() != count) d.fail("another number of registers");
  return d.operand(i).items;
}

void emit_product(Decoder &d) {
  const bool known = d.take("sync") && d.take("aligned") && d.take("row") && d.take("col");
  const bool deep = d.take("m16n8k16");
  if (!known || (!deep && !d.take("m16n8k8"))) d.fail("unknown shape");
  const Type to = d.take_type(), a = d.take_type(), b = d.take_type(), c = d.take_type();
  if (to != Type::f32 || c != Type::f32 || a != b) d.fail("unknown types");
  const Execute run = deep && a == Type::bf16    ? &multiply_16_bits<Bfloat>
                      : deep && a == Type::f16   ? &multiply_16_bits<Half>
                      : !deep && a == Type::tf32 ? &multiply_tf32
                                                 : nullptr;
  if (!run) d.fail("unknown types");
  int rows[14];
  for (size_t i = 0; i < 4; i++) rows[i] = d.result(list(d, 0, 4)[i], 4);
  for (size_t i = 0; i < 4; i++) rows[4 + i] = d.source(list(d, 1, 4)[i], 4);
  for (size_t i = 0; i < 2; i++) rows[8 + i] = d.source(list(d, 2, 2)[i], 4);
  for (size_t i = 0; i < 4; i++) rows[10 + i] = d.source(list(d, 3, 4)[i], 4);
  std::copy(rows, rows + 14, together(d.emit(run), -1).row);
}

void emit_matrix_load(Decoder &d) {
  const bool known = d.take("sync") && d.take("aligned") && d.take("m8n8") && d.take_space() == Space::shared;
  const int count = d.take("x4") ? 4 : d.take("x2") ? 2 : d.take("x1") ? 1 : 0;
  const bool transposed = d.take("trans");
  if (!known || count == 0 || d.take_type() != Type::u16) d.fail("unknown matrices");
  int rows[4];
  for (size_t i = 0; i < static_cast<size_t>(count); i++) {
    rows[i] = d.result(list(d, 0, static_cast<size_t>(count))[i], 4);
  }
  Op &op = together(d.emit(&load_matrix), -1);
  std::copy(rows, rows + count, op.row);
  op.count = count;
  op.saturate = transposed;
  d.address(op, kAddress, d.operand(1));
  if (op.flag || op.row[kAddress] < 0) d.fail("expected an address of 32 bits in a register");
}

void emit_shuffle(Decoder &d) {
  if (!d.take("sync")) d.fail("expected .sync");
  const int kind = d.take("up")     ? kUp
                   : d.take("down") ? kDown
                   : d.take("bfly") ? kButterfly
                   : d.take("idx")  ? kIndex
                                    : -1;
  if (kind < 0) d.fail("unknown shuffle");
  d.take_type();
  Operand p = d.operand(0);
  p.index = p.second;
  const int value = d.source(d.operand(1), 4), lane = d.source(d.operand(2), 4), clamp = d.source(d.operand(3), 4),
            mask = d.source(d.operand(4), 4);
  const int valid = p.index >= 0 ? d.predicate_result(p) : d.temporary(4);
  together(d.emit(&shuffle, {d.result(d.operand(0), 4), valid, value, lane, clamp}), mask).value =
      static_cast<uint64_t>(kind);
}

void emit_vote(Decoder &d) {
  if (!d.take("sync")) d.fail("expected .sync");
  const int kind = d.take("ballot") ? 0 : d.take("all") ? 1 : d.take("any") ? 2 : d.take("uni") ? 3 : -1;
  if (kind < 0) d.fail("unknown vote");
  d.take_type();
  const int p = d.predicate(d.operand(1)), mask = d.source(d.operand(2), 4);
  const int result = kind == 0 ? d.result(d.operand(0), 4) : d.predicate_result(d.operand(0));
  together(d.emit(&vote, {result, p}), mask).value = static_cast<uint64_t>(kind);
}

void emit_match(Decoder &d) {
  if (!d.take("any") || !d.take("sync")) d.fail("unknown match");
  const int bytes = bytes_of(d.take_type());
  const int a = d.source(d.operand(1), bytes), mask = d.source(d.operand(2), 4);
  together(d.emit(bytes == 8 ? &match_any<uint64_t> : &match_any<uint32_t>, {d.result(d.operand(0), 4), a}), mask);
}

void emit_reduction(Decoder &d) {
  if (!d.take("sync")) d.fail("expected .sync");
  constexpr auto least = [](auto a, auto b) { return std::min(a, b); };
  constexpr auto most = [](auto a, auto b) { return std::max(a, b); };
  const bool is_signed = d.peek_type() == Type::s32;
  const Execute run = d.take("add")   ? &reduce<uint32_t, [](auto a, auto b) { return a + b; }>
                      : d.take("and") ? &reduce<uint32_t, [](auto a, auto b) { return a & b; }>
                      : d.take("or")  ? &reduce<uint32_t, [](auto a, auto b) { return a | b; }>
                      : d.take("xor") ? &reduce<uint32_t, [](auto a, auto b) { return a ^ b; }>
                      : d.take("min") ? (is_signed ? &reduce<int32_t, least> : &reduce<uint32_t, least>)
                      : d.take("max") ? (is_signed ? &reduce<int32_t, most> : &reduce<uint32_t, most>)
                                      : nullptr;
  if (!run || bytes_of(d.take_type()) != 4) d.fail("unknown reduction");
  const int a = d.source(d.operand(1), 4), mask = d.source(d.operand(2), 4);
  together(d.emit(run, {d.result(d.operand(0), 4), a}), mask);
}

void emit_barrier(Decoder &d) {
  if (d.take("warp")) {
    if (!d.take("sync")) d.fail("unknown barrier");
    const int mask = d.source(d.operand(0), 4);
    together(d.emit(&nothing), mask);
    return;
  }
  d.take("cta");
  d.take("aligned");
  if (!d.take("sync") || d.operands() != 1 || d.operand(0).kind != Operand::number || d.operand(0).value != 0) {
    d.fail("unknown barrier");
  }
  d.emit(&nothing).kind = Kind::barrier;
}

}  // namespace

bool decode_warp(Decoder &d) {
  const std::string &name = d.opcode();
  if (name == "shfl") {
    emit_shuffle(d);
  } else if (name == "vote") {
    emit_vote(d);
  } else if (name == "match") {
    emit_match(d);
  } else if (name == "redux") {
    emit_reduction(d);
  } else if (name == "activemask") {
    d.take_type();
    d.emit(&active_mask, {d.result(d.operand(0), 4)});
  } else if (name == "mma") {
    emit_product(d);
  } else if (name == "ldmatrix") {
    emit_matrix_load(d);
  } else if (name == "bar" || name == "barrier") {
    emit_barrier(d);
  } else {
    return false;
  }
  return true;
}

}  // namespace rl::emulator::ptx
