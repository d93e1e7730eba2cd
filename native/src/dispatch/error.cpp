#include "dispatch/error.h"

#include <cstdio>
#include <vector>

namespace rl {
namespace {

thread_local std::string last_error;

std::string vformat(const char *pattern, va_list args) {
  va_list again;
  va_copy(again, args);
  const int length = std::vsnprintf(nullptr, 0, pattern, args);
  std::vector<char> text(static_cast<size_t>(length > 0 ? length : 0) + 1);
  std::vsnprintf(text.data(), text.size(), pattern, again);
  va_end(again);
  return std::string(text.data());
}

}  // namespace

std::string format(const char *pattern, ...) {
  va_list args;
  va_start(args, pattern);
  std::string text = vformat(pattern, args);
  va_end(args);
  return text;
}

void fail(rl_status status, const char *pattern, ...) {
  va_list args;
  va_start(args, pattern);
  std::string text = vformat(pattern, args);
  va_end(args);
  throw Error(status, std::move(text));
}

void set_last_error(const char *op, const char *text) noexcept {
  try {
    last_error = op;
    last_error += ": ";
    last_error += text;
  } catch (...) {
    last_error.clear();
  }
}

}  // namespace rl

const char *rl_last_error(void) { return rl::last_error.c_str(); }
