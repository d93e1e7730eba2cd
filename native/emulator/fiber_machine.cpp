// Kernels of this library, compiled as C++, run by block.cpp and watched by checker.cpp.
#include "emulator/block.h"
#include "emulator/checker.h"
#include "emulator/machine.h"
#include "emulator/registry.h"
#include "emulator/traffic.h"

namespace rl::emulator {
namespace {

const Kernel *kernel_of(const void *kernel) { return static_cast<const Kernel *>(kernel); }

class FiberMachine final : public Machine {
 public:
  std::string name() const override { return checked ? "emulated GPU, checked" : "emulated GPU"; }
  int compute_capability() const override { return 80; }
  void *load(const void *) override { return this; }  // any address: the library's kernels are one module
  void unload(void *) override {}
  const void *find(void *, const char *name) override { return find_kernel(name); }
  const std::string &name_of(const void *kernel) const override { return kernel_of(kernel)->name; }
  const std::vector<size_t> &parameter_sizes(const void *kernel) const override {
    return kernel_of(kernel)->parameter_sizes;
  }
  void run(const void *kernel, dim3 grid, dim3 block, size_t shared, void **values) override {
    emulator::run({kernel_of(kernel), grid, block, shared, values}, settings_of_environment());
    traffic::append_to_file(name_of(kernel));
  }
  void lend(const void *block, size_t bytes) override { checker::lend(block, bytes); }
  void written(const void *p, size_t bytes) override { checker::written(p, bytes); }
  void copied(const void *dst, const void *src, size_t bytes) override { checker::copied(dst, src, bytes); }
  bool is_lent(const void *p, size_t bytes) const override { return checker::is_lent(p, bytes); }
};

}  // namespace

Machine &fiber_machine() {
  static FiberMachine machine;
  return machine;
}

}  // namespace rl::emulator
