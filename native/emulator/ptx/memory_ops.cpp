// Loads, stores, atomics, and copies from global to shared memory.
#include "emulator/fiber.h"
#include "emulator/ptx/decoder.h"
#include "emulator/ptx/floats.h"
#include "emulator/report.h"

namespace rl::emulator::ptx {
namespace {

constexpr int kAddress = 15;  // the row of an op's address

template <class T>
void load(Warp &w, const Op &op, uint32_t mask) {
  const size_t count = static_cast<size_t>(op.count);
  lanes(mask, [&](int i) {
    const uint8_t *p = w.reach(op.space, w.address(op, kAddress, i), sizeof(T) * count, Access::read, op, i);
    for (size_t k = 0; k < count; k++) {
      T value;
      std::memcpy(&value, p + k * sizeof(T), sizeof(T));
      w.row<Slot<T>>(op.row[k])[i] = slot<T>(value);
    }
  });
}
template <class T>
void store(Warp &w, const Op &op, uint32_t mask) {
  const size_t count = static_cast<size_t>(op.count);
  lanes(mask, [&](int i) {
    uint8_t *p = w.reach(op.space, w.address(op, kAddress, i), sizeof(T) * count, Access::write, op, i);
    for (size_t k = 0; k < count; k++) {
      const T value = read<T>(w.row<Slot<T>>(op.row[k])[i]);
      std::memcpy(p + k * sizeof(T), &value, sizeof(T));
    }
  });
}

/// Words that say how caches and other threads see an access: here memory is one, and a block runs alone.
void take_hints(Decoder &d) {
  for (const char *hint : {"weak",
                           "volatile",
                           "relaxed",
                           "acquire",
                           "release",
                           "acq_rel",
                           "cta",
                           "gpu",
                           "sys",
                           "cluster",
                           "ca",
                           "cg",
                           "cs",
                           "lu",
                           "cv",
                           "wb",
                           "wt",
                           "nc",
                           "L1::no_allocate",
                           "L1::evict_last",
                           "L1::evict_first",
                           "L2::64B",
                           "L2::128B",
                           "L2::256B"}) {
    d.take(hint);
  }
}

Type bits_of(Type type) {
  switch (bytes_of(type)) {
    case 2:
      return type == Type::s16 ? Type::s16 : Type::u16;
    case 8:
      return Type::u64;
    case 4:
      return Type::u32;
    default:
      return type;
  }
}

void emit_access(Decoder &d, bool loads) {
  take_hints(d);
  const Space space = d.take_space();
  const int count = d.take("v2") ? 2 : d.take("v4") ? 4 : 1;
  const Type type = d.take_type();
  const int bytes = bytes_of(type);
  const Operand &values = d.operand(loads ? 0 : 1), &at = d.operand(loads ? 1 : 0);
  const std::vector<Operand> items = values.kind == Operand::list ? values.items : std::vector<Operand>{values};
  if (items.size() != static_cast<size_t>(count)) d.fail("another number of elements");
  int rows[4];
  std::vector<std::pair<Operand, int>> widened;
  for (size_t i = 0; i < items.size(); i++) {
    if (!loads) {
      rows[i] = d.source(items[i], bytes);
    } else if (bytes < 8 && d.is_wide(items[i])) {
      rows[i] = d.temporary(4);
      widened.push_back({items[i], rows[i]});
    } else {
      rows[i] = d.result(items[i], bytes);
    }
  }
  Execute run = nullptr;
  with(Types<uint8_t, int8_t, uint16_t, int16_t, uint32_t, uint64_t>{}, bits_of(type),
       [&]<class T>() { run = loads ? &load<T> : &store<T>; });
  Op &op = d.emit(run);
  std::copy(rows, rows + count, op.row);
  op.count = count;
  op.space = space;
  d.address(op, kAddress, at);
  for (const auto &[o, temporary] : widened) d.widen(o, temporary, type);
}

// ---- atomics: rows: old value, operand, compared operand

enum Atomic { kAdd, kMin, kMax, kAnd, kOr, kXor, kExchange, kCompare, kIncrement, kDecrement };

template <class T>
T combined(Atomic kind, T old, T x, T y) {
  if (kind == kExchange) return x;
  if (kind == kCompare) return old == x ? y : old;
  if (kind == kMin) return x < old ? x : old;
  if (kind == kMax) return old < x ? x : old;
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    if (kind == kAnd) return old & x;
    if (kind == kOr) return old | x;
    if (kind == kXor) return old ^ x;
    if (kind == kIncrement) return old >= x ? T{0} : static_cast<T>(old + 1);
    if (kind == kDecrement) return old == 0 || old > x ? x : static_cast<T>(old - 1);
    return static_cast<T>(static_cast<U>(old) + static_cast<U>(x));
  } else {
    return old + x;
  }
}
template <class T>
void atomic(Warp &w, const Op &op, uint32_t mask) {
  for (int i = 0; i < 32; i++) {
    if (!(mask >> i & 1)) continue;
    uint8_t *p = w.reach(op.space, w.address(op, kAddress, i), sizeof(T), Access::atomic, op, i);
    T old;
    std::memcpy(&old, p, sizeof(T));
    const T x = read<T>(w.row<Slot<T>>(op.row[1])[i]), y = read<T>(w.row<Slot<T>>(op.row[2])[i]);
    const T now = combined(static_cast<Atomic>(op.value), old, x, y);
    std::memcpy(p, &now, sizeof(T));
    w.row<Slot<T>>(op.row[0])[i] = slot<T>(old);
  }
}

void emit_atomic(Decoder &d, bool reduces) {
  static const std::vector<std::pair<const char *, Atomic>> kinds = {
      {"add", kAdd}, {"min", kMin},       {"max", kMax},     {"and", kAnd},       {"or", kOr},
      {"xor", kXor}, {"exch", kExchange}, {"cas", kCompare}, {"inc", kIncrement}, {"dec", kDecrement}};
  take_hints(d);
  const Space space = d.take_space();
  int kind = -1;
  for (const auto &[word, value] : kinds) {
    if (kind < 0 && d.take(word)) kind = value;
  }
  if (kind < 0) d.fail("unknown atomic");
  const Type type = d.take_type();
  const int bytes = bytes_of(type);
  const size_t at = reduces ? 0 : 1;
  const int old = reduces ? d.temporary(bytes) : d.result(d.operand(0), bytes), x = d.source(d.operand(at + 1), bytes),
            y = kind == kCompare ? d.source(d.operand(at + 2), bytes) : x;
  Execute run = nullptr;
  with(Types<uint32_t, int32_t, uint64_t, int64_t, float, double>{}, type, [&]<class T>() { run = &atomic<T>; });
  if (!run || ((type == Type::f32 || type == Type::f64) && kind != kAdd)) d.fail("unknown type");
  Op &op = d.emit(run, {old, x, y});
  op.value = static_cast<uint64_t>(kind);
  op.space = space;
  d.address(op, kAddress, d.operand(at));
}

// ---- cp.async: rows: bytes to read, destination (8), source (15)

constexpr int kDestination = 8;

void copy_async(Warp &w, const Op &op, uint32_t mask) {
  lanes(mask, [&](int i) {
    const uint32_t bytes = static_cast<uint32_t>(op.value);
    uint64_t dst =
        (op.row[kDestination] < 0 ? 0 : w.row<uint32_t>(op.row[kDestination])[i]) + static_cast<uint64_t>(op.count);
    dst &= 0xffffffff;
    const uint64_t src = w.address(op, kAddress, i);
    const uint32_t read = w.row<uint32_t>(op.row[0])[i];
    if (read > bytes) w.fail("bad-copy", op, i, "more bytes to read than to write");
    if (dst % bytes || src % bytes) w.fail("misaligned", op, i, "cp.async of " + std::to_string(bytes) + " bytes");
    if (const char *wrong = shared().copy_starts(dst, bytes, w.number)) w.fail(wrong, op, i, "by cp.async");
    const Copy copy{static_cast<uint32_t>(dst), src, bytes, read, w.group_of_copies[i], static_cast<uint32_t>(i)};
    // Whenever the data comes, nobody may look before the wait.
    if (w.when == Copies::early || (w.when == Copies::random && random_number() % 2)) w.land(copy, op);
    w.copies.push_back(copy);
  });
}
void commit_group(Warp &w, const Op &, uint32_t mask) {
  lanes(mask, [&](int i) { w.group_of_copies[i]++; });
}
/// Leaves op.value groups of each thread under way; flag: not even copies of no group.
void wait_group(Warp &w, const Op &op, uint32_t mask) {
  size_t kept = 0;
  for (const Copy &copy : w.copies) {
    const bool mine = mask >> copy.lane & 1;
    const int open = w.group_of_copies[copy.lane];
    if (mine && (op.flag || copy.group < open - static_cast<int>(op.value))) {
      w.land(copy, op);
      shared().copy_ends(copy.dst, copy.bytes, w.number);
    } else {
      w.copies[kept++] = copy;
    }
  }
  w.copies.resize(kept);
}

void emit_copy(Decoder &d) {
  if (!d.take("async")) d.fail("unknown copy");
  if (d.take("commit_group")) {
    d.emit(&commit_group);
    return;
  }
  const bool all = d.take("wait_all");
  if (all || d.take("wait_group")) {
    if (!all && d.operand(0).kind != Operand::number) d.fail("expected a number");
    Op &op = d.emit(&wait_group);
    op.value = all ? 0 : d.operand(0).value;
    op.flag = all;
    return;
  }
  const bool global_only = d.take("cg");
  if (!global_only && !d.take("ca")) d.fail("expected .ca or .cg");
  if (!(d.take("shared") || d.take("shared::cta")) || !d.take("global")) d.fail("expected .shared.global");
  take_hints(d);
  if (d.operands() < 3 || d.operand(2).kind != Operand::number) d.fail("expected a number of bytes");
  const uint64_t bytes = d.operand(2).value;
  if (bytes != 16 && (global_only || (bytes != 4 && bytes != 8))) d.fail("unknown number of bytes");
  const int read = d.operands() > 3 ? d.source(d.operand(3), 4) : d.number(bytes, 4);
  Op to;
  d.address(to, kDestination, d.operand(0));
  Op &op = d.emit(&copy_async, {read});
  d.address(op, kAddress, d.operand(1));
  op.row[kDestination] = to.row[kDestination];
  op.count = static_cast<int>(to.offset);
  op.value = bytes;
}

void fence(Warp &, const Op &, uint32_t) {}

template <uint64_t window>
void is_space(Warp &w, const Op &op, uint32_t mask) {
  const uint64_t *a = w.row<uint64_t>(op.row[1]);
  uint32_t bits = 0;
  for (int i = 0; i < 32; i++)
    bits |= static_cast<uint32_t>(window ? a[i] - window < kWindow : a[i] < kSharedWindow) << i;
  set_predicate(w, op.row[0], bits, mask);
}

}  // namespace

bool decode_memory(Decoder &d) {
  const std::string &name = d.opcode();
  if (name == "ld" || name == "ldu") {
    emit_access(d, true);
  } else if (name == "st") {
    emit_access(d, false);
  } else if (name == "atom") {
    emit_atomic(d, false);
  } else if (name == "red") {
    emit_atomic(d, true);
  } else if (name == "cp") {
    emit_copy(d);
  } else if (name == "membar" || name == "fence" || name == "prefetch") {
    for (const char *word : {"cta", "gl", "sys", "gpu", "sc", "acq_rel", "global", "L1", "L2"}) d.take(word);
    d.emit(&fence);
  } else if (name == "isspacep") {
    const Space space = d.take_space();
    const int a = d.source(d.operand(1), 8), p = d.predicate_result(d.operand(0));
    d.emit(space == Space::shared  ? &is_space<kSharedWindow>
           : space == Space::local ? &is_space<kLocalWindow>
                                   : &is_space<0>,
           {p, a});
  } else {
    return false;
  }
  return true;
}

uint8_t *Warp::reach(Space space, uint64_t at, size_t bytes, Access kind, const Op &op, int lane) {
  if (space == Space::generic) {
    if (at - kSharedWindow < kWindow) {
      space = Space::shared;
      at -= kSharedWindow;
    } else if (at - kLocalWindow < kWindow) {
      space = Space::local;
      at -= kLocalWindow;
    } else if (at - kParamWindow < kWindow) {
      space = Space::param;
      at -= kParamWindow;
    }
  }
  if (space == Space::shared) at &= 0xffffffff;
  if (at % bytes)
    fail("misaligned", op, lane, std::to_string(bytes) + " bytes at an address that is no multiple of them");
  switch (space) {
    case Space::shared:
      if (const char *wrong =
              shared().touch(at, bytes, kind, number, kind == Access::atomic || op.kind == Kind::converged)) {
        fail(wrong, op, lane, "shared memory at " + std::to_string(at));
      }
      return shared().bytes() + at;
    case Space::local:
      if (at + bytes > program->local_bytes) fail("out-of-bounds-local", op, lane, "offset " + std::to_string(at));
      return locals.data() + static_cast<size_t>(lane) * program->local_bytes + at;
    case Space::param:
      if (at + bytes > program->parameter_bytes || kind != Access::read) {
        fail("out-of-bounds-parameter", op, lane, "offset " + std::to_string(at));
      }
      return const_cast<uint8_t *>(parameters) + at;
    default:
      if (!global_blocks().holds(at, bytes)) {
        fail("out-of-bounds", op, lane, std::to_string(bytes) + " bytes outside of every block");
      }
      return reinterpret_cast<uint8_t *>(at);
  }
}

void Warp::land(const Copy &copy, const Op &op) {
  uint8_t *dst = shared().bytes() + copy.dst;
  std::memset(dst, 0, copy.bytes);
  if (copy.source_bytes == 0) return;
  if (!global_blocks().holds(copy.src, copy.source_bytes)) {
    fail("out-of-bounds", op, static_cast<int>(copy.lane), "cp.async from outside of every block");
  }
  std::memcpy(dst, reinterpret_cast<const void *>(copy.src), copy.source_bytes);
}

void Warp::fail(const char *kind, const Op &op, int lane, const std::string &what) {
  static Thread thread;
  thread.number = number * 32 + lane;
  this_thread = &thread;
  error(kind, "ptx", op.line, what + ": " + op.text);
  this_thread = nullptr;
  throw Abandoned();
}

}  // namespace rl::emulator::ptx
