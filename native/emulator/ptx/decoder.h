// What the decoders of instruction families share: looking up operands, taking modifiers off an instruction, emitting ops.
#pragma once

#include <algorithm>

#include "emulator/ptx/program.h"

namespace rl::emulator::ptx {

class Decoder {
 public:
  Decoder(const Module &module, const Addresses &globals, Program &program)
      : module_(module), globals_(globals), program_(program) {}

  /// Decodes `f`, its calls included; `call` gives its results and parameters their places where it is called.
  void function(const Function &f, const Addresses &call);

  // ---- the instruction at hand
  const Instruction &in() const { return *in_; }
  const std::string &opcode() const { return in_->words[0]; }
  const Operand &operand(size_t i) const;
  size_t operands() const { return in_->operands.size(); }
  /// Takes a modifier off; false if the instruction has it not. What nobody takes is an error.
  bool take(const char *modifier);
  Type take_type();
  Type peek_type() const;  // none where there is none
  Rounding take_rounding();
  Space take_space();
  [[noreturn]] void fail(const std::string &what) const;

  /// The row of a source of `bytes` (1, 2, 4, 8; 0: a predicate). A wider register gives its low half.
  int source(const Operand &o, int bytes);
  /// The row of a result; a register that is wider than a result of `type` is filled by widen().
  int result(const Operand &o, int bytes);
  int predicate(const Operand &o);  // the row; -1: "_"
  int predicate_result(const Operand &o);
  int number(uint64_t value, int bytes);
  int temporary(int bytes);
  bool is_wide(const Operand &o) const { return o.kind == Operand::reg && bytes_of(type_of(o)) == 8; }
  Type type_of(const Operand &o) const { return function_->registers[static_cast<size_t>(o.index)]; }
  /// Sets an op's address from [register + offset] or [variable + offset].
  void address(Op &op, int row, const Operand &o);

  Op &emit(Execute execute, std::initializer_list<int> rows = {});
  /// The value of a temporary, sign-extended if it is signed, to the wider register `o`.
  void widen(const Operand &o, int temporary, Type type);

 private:
  void instruction();
  void call();
  void branch();
  uint64_t symbol(const std::string &name, Space *space = nullptr);
  void declare(const Variable &v);
  void declare_shared(const Function &f);
  bool uses(const Function &f, const std::string &name) const;

  const Module &module_;
  const Addresses &globals_;
  Program &program_;
  const Function *function_ = nullptr;
  const Instruction *in_ = nullptr;
  std::vector<std::string> modifiers_;
  std::vector<int> rows_;  // of the function's registers
  struct Place {
    Space space;
    uint64_t at;
  };
  std::map<std::string, Place> places_;  // of variables
  std::map<std::pair<uint64_t, int>, int> numbers_;
  std::map<std::string, int> specials_;
  struct Jump {
    size_t op;
    std::string label;
  };
  std::vector<Jump> jumps_;
};

// The families; each returns false for an opcode that is not its own.
bool decode_arithmetic(Decoder &d);
bool decode_floating(Decoder &d);
bool decode_conversion(Decoder &d);
bool decode_memory(Decoder &d);
bool decode_warp(Decoder &d);

}  // namespace rl::emulator::ptx
