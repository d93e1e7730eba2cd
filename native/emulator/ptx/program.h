// A kernel made ready to run: each instruction is a function and the places of its operands in the warp's register file.
#pragma once

#include <memory>

#include "emulator/ptx/module.h"

namespace rl::emulator::ptx {

class Warp;
struct Op;

/// Carries an op out for the lanes in `mask`.
using Execute = void (*)(Warp &, const Op &, uint32_t mask);

enum class Rounding : uint8_t { nearest, zero, down, up, nearest_away };

/// What the scheduler has to know about an op.
enum class Kind : uint8_t {
  plain,
  branch,
  exit,
  barrier,
  converged
};  // converged: the lanes of a mask run it together

struct Op {
  Execute execute = nullptr;
  Kind kind = Kind::plain;
  int guard = -1;  // offset of the predicate, or -1
  bool guard_not = false;
  int target = 0;      // of a branch
  int row[16] = {};    // operands, results first: offsets in the register file
  int64_t offset = 0;  // of an address
  uint64_t value = 0;  // whatever number the op needs
  int count = 1;       // of elements in a vector or a list
  Space space = Space::generic;
  Rounding rounding = Rounding::nearest;
  bool flag = false, saturate = false, flush = false;
  int line = 0;
  const char *text = "";
};

/// The register file: a row for each register, number and special register. A predicate is one word with a bit for each lane;
/// rows of up to 32 bits are 32 words, rows of 64 bits 32 double words.
struct Program {
  std::string name;
  int most_threads = 1024;
  std::vector<size_t> parameter_sizes, parameter_offsets;
  size_t parameter_bytes = 0, local_bytes = 0, shared_bytes = 0;
  struct SharedArray {
    size_t at, bytes;
  };
  std::vector<SharedArray> shared_arrays;  // the last is the dynamic one, if the kernel has it
  bool has_dynamic = false;
  size_t register_bytes = 0;
  struct Number {
    int row, bytes;
    uint64_t value;
  };
  std::vector<Number> numbers;
  struct Special {
    int row;
    std::string name;
  };
  std::vector<Special> specials;
  std::vector<Op> ops;
};

/// Where .global and .const variables of a module lie, by name.
using Addresses = std::map<std::string, uint64_t>;

/// Throws Error for what the interpreter does not know. The program points to texts of `module`.
std::unique_ptr<Program> decode(const Module &module, const Function &kernel, const Addresses &globals);

}  // namespace rl::emulator::ptx
