// What went wrong in a launch, with file, line, block and thread.
#pragma once

#include <string>
#include <vector>

namespace rl::emulator {

void begin_report(const std::string &kernel);
/// Notes an error of the running thread, once for each kind and place. Without a file, `code` is the address of the access.
void error(const char *kind, const char *file, int line, const std::string &text, const void *code = nullptr);
bool has_errors();
/// All errors since the last call, a line each.
std::string take_report();

/// "rms_norm.cu:31".
std::string place(const char *file, int line, const void *code = nullptr);
/// Looks many addresses up at once, for place() to know them: each look-up takes the library's debugging information in.
void name_places(const std::vector<const void *> &codes);

}  // namespace rl::emulator
