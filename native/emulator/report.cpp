#include "emulator/report.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <set>
#include <unordered_map>
#include <vector>

#include "emulator/block.h"

namespace rl::emulator {
namespace {

constexpr size_t kMost = 10;
std::string &kernel = *new std::string;
std::vector<std::string> &lines = *new std::vector<std::string>;
std::set<std::string> &seen = *new std::set<std::string>;

std::unordered_map<const void *, std::string> &names = *new std::unordered_map<const void *, std::string>;

}  // namespace

std::string place(const char *file, int line, const void *code) {
  if (!file) {
    if (!code) return "?";
    name_places({code});
    return names[code];
  }
  const char *slash = std::strrchr(file, '/');
  return std::string(slash ? slash + 1 : file) + ":" + std::to_string(line);
}

// From the library's debugging information. Binutils' addr2line is where a compiler is.
void name_places(const std::vector<const void *> &codes) {
  std::string command;
  std::vector<const void *> asked;
  for (const void *code : codes) {
    Dl_info info;
    if (!names.emplace(code, "?").second || !dladdr(code, &info) || !info.dli_fname) continue;
    if (command.empty()) command = std::string("addr2line -e '") + info.dli_fname + "'";
    char address[32];
    std::snprintf(address, sizeof address, " 0x%zx",
                  static_cast<size_t>(static_cast<const char *>(code) - static_cast<const char *>(info.dli_fbase)) - 1);
    command += address;
    asked.push_back(code);
  }
  if (asked.empty()) return;
  if (FILE *pipe = popen((command + " 2>/dev/null").c_str(), "r")) {
    char output[1024];
    for (const void *code : asked) {
      if (!std::fgets(output, sizeof output, pipe)) break;
      std::string text = output;
      text = text.substr(0, text.find_first_of(" \n"));
      const size_t slash = text.rfind('/');
      names[code] = slash == std::string::npos ? text : text.substr(slash + 1);
    }
    pclose(pipe);
  }
}

void begin_report(const std::string &name) { kernel = name; }

void error(const char *kind, const char *file, int line, const std::string &text, const void *code) {
  char key[64];
  std::snprintf(key, sizeof key, "|%p|%d|%p", static_cast<const void *>(file), line, code);
  if (lines.size() >= kMost || !seen.insert(kernel + kind + key).second) return;
  char who[128] = "";
  if (this_thread) {
    std::snprintf(who, sizeof who, " block (%u,%u,%u) thread %d (warp %d lane %d):", this_block.x, this_block.y,
                  this_block.z, this_thread->number, this_thread->number / 32, this_thread->number % 32);
  }
  lines.push_back(kernel + ": " + kind + " at " + place(file, line, code) + who + " " + text);
}

bool has_errors() { return !lines.empty(); }

std::string take_report() {
  std::string text;
  for (const std::string &line : lines) text += (text.empty() ? "" : "\n") + line;
  lines.clear();
  seen.clear();
  return text;
}

}  // namespace rl::emulator
