// The text of a PTX module as data: functions with their registers, variables and instructions. Nothing is decoded here.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace rl::emulator::ptx {

/// The text is no PTX that this interpreter knows; names kernel, line and instruction.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class Type { none, pred, u8, u16, u32, u64, s8, s16, s32, s64, f16, bf16, f32, f64, f16x2, bf16x2, tf32 };
/// .b32 is u32: bits have no type of their own. `none` for words that are no types.
Type type_named(const std::string &name);
int bytes_of(Type type);

enum class Space { generic, global, shared, local, param, constant };

struct Operand {
  enum Kind { nothing, reg, number, symbol, special, address, list } kind = nothing;
  int index = -1;        // reg: in its function's registers; address: the base, or -1
  int second = -1;       // reg: the predicate after '|'
  bool negated = false;  // reg: !p
  uint64_t value = 0;    // number: its bits; symbol, address: bytes to add
  std::string name;      // symbol, special; address: a variable as base
  std::vector<Operand> items;
};

struct Instruction {
  int line;
  int guard = -1;  // register of @p
  bool guard_not = false;
  std::vector<std::string> words;  // "mma", "sync", ...
  std::vector<Operand> operands;
  std::string text;
};

struct Variable {
  std::string name;
  Space space;
  size_t align, bytes;
  std::vector<uint8_t> values;  // of constants
};

struct Function {
  std::string name;
  bool entry;
  int most_threads = 1024;
  std::vector<Variable> parameters, results;
  std::vector<Type> registers;
  std::vector<Variable> variables;
  std::vector<Instruction> code;
  std::map<std::string, size_t> labels;  // indices into code
};

struct Module {
  std::string target;  // "sm_80"
  std::vector<Function> functions;
  std::vector<Variable> variables;
};

/// Throws Error.
Module parse(const char *text);

}  // namespace rl::emulator::ptx
