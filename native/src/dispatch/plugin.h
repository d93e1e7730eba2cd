// Backends beside the core library: librlhf4j_NAME.so in the folder of librlhf4j.so, loaded when a device of that name is opened.
#pragma once

#include "dispatch/backend.h"

namespace rl {

/// Tells builds apart whose ops differ: a table with one op more or less would call the wrong functions.
constexpr uint64_t ops_fingerprint() {
  uint64_t hash = 14695981039346656037u;  // FNV-1a of the op list
  constexpr char text[] =
#define RL_OP(name, ...) #name "(" #__VA_ARGS__ ")"
#include "dispatch/ops.def"
#undef RL_OP
      ;
  for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return hash;
}

/// What a plugin's one exported function, `extern "C" const rl::Backend *rl_backend()`, returns.
struct Backend {
  int32_t abi;           // RL_ABI_VERSION
  uint64_t fingerprint;  // ops_fingerprint()
  /// Opens device `index`; throws RL_UNSUPPORTED with what to do where there is no such device.
  std::unique_ptr<Device> (*open)(int32_t index);
};

/// The backend called `name`; throws RL_UNSUPPORTED if no library of that name lies beside the core, or it does not fit.
const Backend &find_backend(const char *name);

/// The names of the plugins that lie beside the core library, sorted.
std::string list_backends();

}  // namespace rl
