#include "emulator/registry.h"

#include <map>

namespace rl::emulator {

// Made at its first use: registrations run before main, in any order.
static std::map<std::string, Kernel> &kernels() {
  static auto &map = *new std::map<std::string, Kernel>;
  return map;
}

const Kernel *find_kernel(const std::string &name) {
  const auto found = kernels().find(name);
  return found == kernels().end() ? nullptr : &found->second;
}

void add_kernel(Kernel kernel) {
  const std::string name = kernel.name;
  kernels().emplace(name, std::move(kernel));
}

}  // namespace rl::emulator
