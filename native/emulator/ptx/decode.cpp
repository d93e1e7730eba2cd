#include <tuple>

#include "emulator/ptx/decoder.h"
#include "emulator/ptx/warp.h"

namespace rl::emulator::ptx {

std::unique_ptr<Program> decode(const Module &module, const Function &kernel, const Addresses &globals) {
  auto program = std::make_unique<Program>();
  program->name = kernel.name;
  program->most_threads = kernel.most_threads;
  Addresses parameters;
  for (const Variable &p : kernel.parameters) {
    const size_t at = (program->parameter_bytes + p.align - 1) / p.align * p.align;
    parameters[p.name] = at;
    program->parameter_sizes.push_back(p.bytes);
    program->parameter_offsets.push_back(at);
    program->parameter_bytes = at + p.bytes;
  }
  Decoder(module, globals, *program).function(kernel, parameters);
  return program;
}

void Decoder::function(const Function &f, const Addresses &call) {
  // A function is decoded where it is called, with registers of its own; recursion would not end, and nvcc makes none.
  const auto caller = std::make_tuple(function_, in_, modifiers_, rows_, places_, jumps_);
  function_ = &f;
  rows_.clear();
  jumps_.clear();
  for (Type type : f.registers) rows_.push_back(temporary(bytes_of(type)));
  for (const auto &[name, at] : call) places_[name] = {f.entry ? Space::param : Space::local, at};
  for (const Variable &v : f.variables) declare(v);
  if (f.entry) declare_shared(f);
  std::vector<size_t> starts;
  for (const Instruction &in : f.code) {
    starts.push_back(program_.ops.size());
    in_ = &in;
    instruction();
  }
  if (f.entry) emit(&nothing).kind = Kind::exit;  // a body may end without ret
  starts.push_back(f.entry ? program_.ops.size() - 1 : program_.ops.size());
  for (const Jump &jump : jumps_) {
    const auto found = f.labels.find(jump.label);
    if (!jump.label.empty() && found == f.labels.end()) throw Error(f.name + ": no label is called " + jump.label);
    program_.ops[jump.op].target = static_cast<int>(starts[jump.label.empty() ? f.code.size() : found->second]);
  }
  std::tie(function_, in_, modifiers_, rows_, places_, jumps_) = caller;
}

void Decoder::declare(const Variable &v) {
  size_t &bytes = v.space == Space::shared ? program_.shared_bytes : program_.local_bytes;
  if (v.space != Space::shared && v.space != Space::local && v.space != Space::param) {
    throw Error(function_->name + ": variable " + v.name + " in a function");
  }
  // Nobody's bytes between shared arrays: going past the end of one is found.
  const size_t align = v.space == Space::shared ? std::max<size_t>(v.align, 128) : v.align;
  if (program_.has_dynamic && v.space == Space::shared) {
    // Several names of the one dynamic array are one place.
    if (v.bytes) throw Error(function_->name + ": shared variable " + v.name + " of a function");
    places_[v.name] = {v.space, program_.shared_arrays.back().at};
    return;
  }
  const size_t at = (bytes + (v.space == Space::shared && bytes ? 64 : 0) + align - 1) / align * align;
  bytes = at + v.bytes;
  places_[v.name] = {v.space == Space::param ? Space::local : v.space, at};
  if (v.space == Space::shared) {
    program_.shared_arrays.push_back({at, v.bytes});
    if (v.bytes == 0) program_.has_dynamic = true;
  }
}

bool Decoder::uses(const Function &f, const std::string &name) const {
  const auto names = [&](const auto &self, const Operand &o) -> bool {
    return o.name == name || std::any_of(o.items.begin(), o.items.end(), [&](auto &item) { return self(self, item); });
  };
  return std::any_of(f.code.begin(), f.code.end(), [&](const Instruction &in) {
    return std::any_of(in.operands.begin(), in.operands.end(), [&](const Operand &o) { return names(names, o); });
  });
}

// Of the module's shared variables a kernel gets those that it or a function uses, the dynamic one last.
void Decoder::declare_shared(const Function &f) {
  for (const bool dynamic : {false, true}) {
    for (const Variable &v : module_.variables) {
      if (v.space != Space::shared || (v.bytes == 0) != dynamic) continue;
      bool used = uses(f, v.name);
      for (const Function &other : module_.functions) used |= !other.entry && uses(other, v.name);
      if (used) declare(v);
    }
  }
}

uint64_t Decoder::symbol(const std::string &name, Space *space) {
  const auto found = places_.find(name);
  if (found == places_.end()) {
    if (const auto global = globals_.find(name); global != globals_.end()) {
      if (space) *space = Space::global;
      return global->second;
    }
    fail("unknown name " + name);
  }
  if (space) *space = found->second.space;
  return found->second.at;
}

void Decoder::fail(const std::string &what) const {
  throw Error(program_.name + ": line " + std::to_string(in_->line) + ": " + in_->text + ": " + what);
}

const Operand &Decoder::operand(size_t i) const {
  if (i >= in_->operands.size()) fail("too few operands");
  return in_->operands[i];
}

bool Decoder::take(const char *modifier) {
  const auto found = std::find(modifiers_.begin(), modifiers_.end(), modifier);
  if (found == modifiers_.end()) return false;
  modifiers_.erase(found);
  return true;
}

Type Decoder::take_type() {
  for (auto word = modifiers_.begin(); word != modifiers_.end(); ++word) {
    const Type type = type_named(*word);
    if (type == Type::none) continue;
    modifiers_.erase(word);
    return type;
  }
  fail("expected a type");
}

Type Decoder::peek_type() const {
  for (const std::string &word : modifiers_) {
    if (const Type type = type_named(word); type != Type::none) return type;
  }
  return Type::none;
}

Rounding Decoder::take_rounding() {
  if (take("rz") || take("rzi")) return Rounding::zero;
  if (take("rm") || take("rmi")) return Rounding::down;
  if (take("rp") || take("rpi")) return Rounding::up;
  if (take("rna")) return Rounding::nearest_away;
  if (!take("rn")) take("rni");
  return Rounding::nearest;
}

Space Decoder::take_space() {
  if (take("global")) return Space::global;
  if (take("shared") || take("shared::cta")) return Space::shared;
  if (take("local")) return Space::local;
  if (take("param")) return Space::param;
  if (take("const")) return Space::constant;
  return Space::generic;
}

int Decoder::temporary(int bytes) {
  const size_t at = program_.register_bytes;
  program_.register_bytes += bytes == 8 ? 256 : 128;
  return static_cast<int>(at);
}

int Decoder::number(uint64_t value, int bytes) {
  if (bytes < 8) value &= (uint64_t{1} << (bytes ? 8 * bytes : 32)) - 1;
  const auto [found, fresh] = numbers_.try_emplace({value, bytes == 8 ? 8 : 4}, 0);
  if (fresh) {
    found->second = temporary(bytes);
    program_.numbers.push_back({found->second, bytes == 8 ? 8 : 4, value});
  }
  return found->second;
}

int Decoder::source(const Operand &o, int bytes) {
  switch (o.kind) {
    case Operand::number:
      return number(o.value, bytes);
    case Operand::symbol:
      return number(symbol(o.name) + o.value, bytes);
    case Operand::special: {
      const int width = o.name == "%clock64" || o.name == "%globaltimer" ? 8 : 4;
      const auto [found, fresh] = specials_.try_emplace(o.name, 0);
      if (fresh) {
        if (!is_special(o.name)) fail("unknown register " + o.name);
        found->second = temporary(width);
        program_.specials.push_back({found->second, o.name});
      }
      if ((bytes == 8) != (width == 8)) fail("a register of another size");
      return found->second;
    }
    case Operand::reg: {
      if (o.negated || type_of(o) == Type::pred) fail("a predicate among other operands");
      const int row = rows_[static_cast<size_t>(o.index)];
      if (bytes == 8 && !is_wide(o)) fail("a register of another size");
      if (bytes == 8 || !is_wide(o)) return row;
      const int low = temporary(4);
      emit(&narrow, {low, row});
      return low;
    }
    default:
      fail("expected a register or a number");
  }
}

int Decoder::result(const Operand &o, int bytes) {
  if (o.kind == Operand::nothing) return temporary(bytes);  // nobody reads it
  if (o.kind != Operand::reg || type_of(o) == Type::pred) fail("expected a register");
  if (is_wide(o) != (bytes == 8)) fail("a register of another size");
  return rows_[static_cast<size_t>(o.index)];
}

int Decoder::predicate(const Operand &o) {
  if (o.kind == Operand::number) return number(o.value ? ~uint64_t{0} : 0, 0);
  if (o.kind != Operand::reg || type_of(o) != Type::pred) fail("expected a predicate");
  const int row = rows_[static_cast<size_t>(o.index)];
  if (!o.negated) return row;
  const int turned = temporary(4);
  emit(&predicate_not, {turned, row});
  return turned;
}

int Decoder::predicate_result(const Operand &o) {
  if (o.kind == Operand::nothing) return temporary(4);
  if (o.kind != Operand::reg || type_of(o) != Type::pred) fail("expected a predicate");
  return rows_[static_cast<size_t>(o.index)];
}

void Decoder::address(Op &op, int row, const Operand &o) {
  if (o.kind != Operand::address) fail("expected an address");
  op.row[row] = -1;
  op.offset = static_cast<int64_t>(o.value);
  if (o.index >= 0) {
    op.row[row] = rows_[static_cast<size_t>(o.index)];
    op.flag = bytes_of(function_->registers[static_cast<size_t>(o.index)]) == 8;
  } else if (!o.name.empty()) {
    Space space;
    op.offset += static_cast<int64_t>(symbol(o.name, &space));
    if (op.space == Space::param) op.space = space;  // a function's parameters are local variables of the kernel
  }
}

Op &Decoder::emit(Execute execute, std::initializer_list<int> rows) {
  Op op;
  op.execute = execute;
  std::copy(rows.begin(), rows.end(), op.row);
  if (in_) {
    op.line = in_->line;
    op.text = in_->text.c_str();
    if (in_->guard >= 0) op.guard = rows_[static_cast<size_t>(in_->guard)];
    op.guard_not = in_->guard_not;
  }
  program_.ops.push_back(op);
  return program_.ops.back();
}

void Decoder::widen(const Operand &o, int temporary, Type type) {
  const bool is_signed = type == Type::s8 || type == Type::s16 || type == Type::s32;
  emit(is_signed ? &widen_signed : &widen_unsigned, {rows_[static_cast<size_t>(o.index)], temporary});
}

void Decoder::instruction() {
  modifiers_.assign(in_->words.begin() + 1, in_->words.end());
  const std::string &name = opcode();
  if (name == "bra" || name == "ret" || name == "exit") {
    branch();
  } else if (name == "call") {
    call();
  } else if (!decode_arithmetic(*this) && !decode_floating(*this) && !decode_conversion(*this) &&
             !decode_memory(*this) && !decode_warp(*this)) {
    fail("unknown instruction");
  }
  if (!modifiers_.empty()) fail("unknown modifier ." + modifiers_[0]);
}

void Decoder::branch() {
  take("uni");
  Op &op = emit(&nothing);
  const bool leaves = opcode() == "exit" || (opcode() == "ret" && function_->entry);
  op.kind = leaves ? Kind::exit : Kind::branch;
  if (leaves) return;
  if (opcode() == "bra" && operand(0).kind != Operand::symbol) fail("expected a label");
  jumps_.push_back({program_.ops.size() - 1, opcode() == "bra" ? operand(0).name : ""});
}

void Decoder::call() {
  take("uni");
  if (in_->guard >= 0) fail("a call under a predicate");
  const bool results = operand(0).kind == Operand::list;
  const size_t at = results ? 1 : 0;
  const Function *callee = nullptr;
  for (const Function &f : module_.functions) {
    if (f.name == operand(at).name && !f.entry) callee = &f;
  }
  if (!callee) fail("no function of that name");
  Addresses places;
  auto bind = [&](const std::vector<Variable> &formal, const Operand &list) {
    if (formal.size() != list.items.size()) fail("another number of parameters");
    for (size_t i = 0; i < formal.size(); i++) places[formal[i].name] = symbol(list.items[i].name);
  };
  if (results) bind(callee->results, operand(0));
  if (operands() > at + 1) bind(callee->parameters, operand(at + 1));
  function(*callee, places);
}

}  // namespace rl::emulator::ptx
