// What runs kernels under the emulated driver: fibers over kernels compiled as C++ (fiber_machine.cpp), or the PTX that nvcc
// makes (ptx/ptx_machine.cpp).
#pragma once

#include <vector_types.h>

#include <cstddef>
#include <string>
#include <vector>

namespace rl::emulator {

class Machine {
 public:
  virtual ~Machine() = default;
  virtual std::string name() const = 0;
  virtual int compute_capability() const = 0;  // 80, 90

  /// The handle of a module, null if the image is none; what is wrong with it is told to report.h.
  virtual void *load(const void *image) = 0;
  virtual void unload(void *module) = 0;
  /// The handle of a kernel, null if the module has none of that name.
  virtual const void *find(void *module, const char *name) = 0;
  virtual const std::string &name_of(const void *kernel) const = 0;
  virtual const std::vector<size_t> &parameter_sizes(const void *kernel) const = 0;
  /// Runs a whole grid. What goes wrong is told to report.h.
  virtual void run(const void *kernel, dim3 grid, dim3 block, size_t shared, void **values) = 0;

  // ---- which memory is whose, as in checker.h
  virtual void lend(const void *block, size_t bytes) = 0;
  virtual void written(const void *p, size_t bytes) = 0;
  virtual void copied(const void *dst, const void *src, size_t bytes) = 0;
  virtual bool is_lent(const void *p, size_t bytes) const = 0;
};

Machine &fiber_machine();

}  // namespace rl::emulator
