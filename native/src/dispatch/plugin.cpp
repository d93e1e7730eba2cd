#include "dispatch/plugin.h"

#include <dirent.h>
#include <dlfcn.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <set>

namespace rl {
namespace {

#if defined(__APPLE__)
constexpr char kSuffix[] = ".dylib";
#else
constexpr char kSuffix[] = ".so";
#endif
constexpr char kPrefix[] = "librlhf4j_";

/// The folder of the library that this function is in.
std::string library_folder() {
  Dl_info info;
  if (!dladdr(reinterpret_cast<void *>(&library_folder), &info) || !info.dli_fname) return ".";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

/// A part of a file name, and nothing else: no way out of the folder.
bool is_name(const std::string &name) {
  if (name.empty() || name.size() > 32) return false;
  for (char c : name) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')) return false;
  }
  return true;
}

const Backend &load(const std::string &name) {
  const std::string path = library_folder() + "/" + kPrefix + name + kSuffix;
  if (!is_name(name) || access(path.c_str(), R_OK) != 0) {
    if (name == "cuda")
      fail(RL_UNSUPPORTED, "the CUDA backend is not built; run native/build.sh cuda, which needs no GPU");
    fail(RL_UNSUPPORTED, "backend: expected one of [%s], found '%.32s'", list_backends().c_str(), name.c_str());
  }
  void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: its devices may outlive any call
  if (!library) fail(RL_UNSUPPORTED, "backend '%s' cannot be loaded: %s", name.c_str(), dlerror());
  using Entry = const Backend *();
  auto *entry = reinterpret_cast<Entry *>(dlsym(library, "rl_backend"));
  if (!entry) fail(RL_UNSUPPORTED, "%s is no backend: it has no function rl_backend", path.c_str());
  const Backend *backend = entry();
  if (backend->abi != RL_ABI_VERSION || backend->fingerprint != ops_fingerprint()) {
    fail(RL_UNSUPPORTED, "%s comes from another build than librlhf4j beside it: build both anew", path.c_str());
  }
  return *backend;
}

}  // namespace

const Backend &find_backend(const char *name) {
  static std::mutex &mutex = *new std::mutex;
  static auto &loaded = *new std::map<std::string, const Backend *>;
  std::lock_guard lock(mutex);
  const auto found = loaded.find(name);
  if (found != loaded.end()) return *found->second;
  const Backend &backend = load(name);
  loaded[name] = &backend;
  return backend;
}

std::string list_backends() {
  std::set<std::string> names;
  if (DIR *folder = opendir(library_folder().c_str())) {
    const size_t prefix = std::strlen(kPrefix), suffix = std::strlen(kSuffix);
    while (const dirent *entry = readdir(folder)) {
      const std::string file = entry->d_name;
      if (file.size() <= prefix + suffix || file.compare(0, prefix, kPrefix) != 0 ||
          file.compare(file.size() - suffix, suffix, kSuffix) != 0) {
        continue;
      }
      names.insert(file.substr(prefix, file.size() - prefix - suffix));
    }
    closedir(folder);
  }
  std::string text = "cpu";
  for (const std::string &name : names) text += ", " + name;
  return text;
}

}  // namespace rl
