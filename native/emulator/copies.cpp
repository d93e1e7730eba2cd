// cp.async: a copy may happen at once or as late as its wait; until then the bytes must not be touched. Late is the default, with
// the destination filled by NaNs in between, and random mixes both.
#include <cstring>

#include "emulator/checker.h"
#include "emulator/fiber.h"

namespace rl::emulator {

static void carry_out(const Copy &copy) {
  if (copy.valid) {
    std::memcpy(copy.dst, copy.src, copy.bytes);
  } else {
    std::memset(copy.dst, 0, copy.bytes);
  }
}

void copy_async(void *dst, const void *src, size_t bytes, bool valid, const char *file, int line) {
  if (valid) access(src, bytes, Access::read, file, line);
  checker::copy_starts(dst, bytes, file, line);
  const Copy copy{
      static_cast<uint8_t *>(dst), static_cast<const uint8_t *>(src), bytes, valid, self().group, file, line};
  const Copies when = settings().copies;
  if (when == Copies::early || (when == Copies::random && random_number() % 2)) {
    carry_out(copy);
  } else {
    std::memset(dst, 0xff, bytes);
  }
  self().copies.push_back(copy);
}

void copy_async_commit() { self().group++; }

void copy_async_wait(int groups_left) {
  Fiber &me = self();
  size_t kept = 0;
  for (const Copy &copy : me.copies) {
    if (copy.group < me.group - groups_left) {
      carry_out(copy);
      checker::copy_ends(copy.dst, copy.bytes, copy.file, copy.line);
    } else {
      me.copies[kept++] = copy;
    }
  }
  me.copies.resize(kept);
}

}  // namespace rl::emulator
