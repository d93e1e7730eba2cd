// Errors inside the library are exceptions; none crosses the ABI.
#pragma once

#include <cstdarg>
#include <exception>
#include <new>
#include <string>

#include "rlhf4j.h"

namespace rl {

class Error : public std::exception {
 public:
  Error(rl_status status, std::string text) : status_(status), text_(std::move(text)) {}
  const char *what() const noexcept override { return text_.c_str(); }
  rl_status status() const noexcept { return status_; }

 private:
  rl_status status_;
  std::string text_;
};

/// printf into a std::string.
[[gnu::format(printf, 1, 2)]] std::string format(const char *pattern, ...);

/// Throws Error(status, formatted text).
[[noreturn, gnu::format(printf, 2, 3)]] void fail(rl_status status, const char *pattern, ...);

/// Keeps "op: text" for rl_last_error() of this thread; "" if there is no memory for it.
void set_last_error(const char *op, const char *text) noexcept;

/// The only way into the library: runs `body`, turning what it throws into a status and a text.
template <class Body>
rl_status guard(const char *op, Body &&body) noexcept {
  try {
    body();
    return RL_OK;
  } catch (const Error &e) {
    set_last_error(op, e.what());
    return e.status();
  } catch (const std::bad_alloc &) {
    set_last_error(op, "out of memory");
    return RL_OUT_OF_MEMORY;
  } catch (const std::exception &e) {
    set_last_error(op, e.what());
    return RL_INTERNAL;
  } catch (...) {
    set_last_error(op, "unknown failure");
    return RL_INTERNAL;
  }
}

}  // namespace rl
