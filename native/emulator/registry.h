// Kernels of this library by name, with the sizes of their parameters: what a module holds on a GPU.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace rl::emulator {

struct Kernel {
  std::string name;
  void (*function)();
  /// Calls `function` with the parameters that `values` point to, by value.
  void (*call)(void (*function)(), void **values);
  std::vector<size_t> parameter_sizes;
  int threads;  // the most that a block may have
};

/// Null if there is none.
const Kernel *find_kernel(const std::string &name);
void add_kernel(Kernel kernel);

/// A static object for each KERNEL.
class Registration {
 public:
  template <class... P>
  Registration(const char *name, void (*kernel)(P...), int threads) {
    add_kernel({name, reinterpret_cast<void (*)()>(kernel), &call<P...>, {sizeof(P)...}, threads});
  }

 private:
  template <class... P>
  static void call(void (*function)(), void **values) {
    apply(reinterpret_cast<void (*)(P...)>(function), values, std::index_sequence_for<P...>{});
  }
  template <class... P, size_t... I>
  __attribute__((no_sanitize("thread"))) static void apply(void (*kernel)(P...), void **values,
                                                           std::index_sequence<I...>) {
    kernel(*static_cast<P *>(values[I])...);
  }
};

}  // namespace rl::emulator
