// Real kernels whose PTX was made wrong on purpose, run by the interpreter through the backend's own host code.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <deque>
#include <map>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "cuda/cuda_device.h"
#include "emulator/driver.h"
#include "emulator/libraries.h"
#include "emulator/ptx/ptx_images.h"
#include "emulator/ptx/ptx_machine.h"

namespace rl::emulator {

inline uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }
inline float number(uint32_t x) { return std::bit_cast<float>(x); }
inline uint16_t bf16(float x) { return static_cast<uint16_t>((bits(x) + 0x7fff + (bits(x) >> 16 & 1)) >> 16); }
inline float of_bf16(uint16_t x) { return number(static_cast<uint32_t>(x) << 16); }
inline uint16_t f16(float x) { return std::bit_cast<uint16_t>(static_cast<_Float16>(x)); }
inline float of_f16(uint16_t x) { return static_cast<float>(std::bit_cast<_Float16>(x)); }

/// Some value in [-1,1], exact in bf16 and f16.
inline float value(size_t i) { return static_cast<float>((i * 2654435761u >> 7) % 17) / 8 - 1; }

/// In kernel `entry` of a file, match number `which` of a pattern (all of them if negative) becomes something else. Patterns name
/// instructions, never registers or places, so that they hold when nvcc counts otherwise.
struct Mutation {
  const char *name, *file, *entry, *pattern, *by;
  int which;
  const char *finds;  // the report's kind; empty: wrong numbers
};
inline void PrintTo(const Mutation &m, std::ostream *out) { *out << m.name; }

// What is done to kernels of every kind: pattern and by.
#define SWAPPED_A "(mma[^{]*\\{[^}]*\\}, )\\{(%r\\d+),(%r\\d+),", "$1{$3,$2,"
#define SWAPPED_B "(mma[^{]*\\{[^}]*\\}, \\{[^}]*\\}, )\\{(%r\\d+),(%r\\d+)\\}", "$1{$3,$2}"
#define SWAPPED_C "(mma[^{]*\\{)(%f\\d+),(%f\\d+),", "$1$3,$2,"
#define NO_ZERO_FILL "(cp\\.async\\.cg[^;]*, 16), %r\\d+;", "$1, 16;"
#define ALL_ZERO_FILL "(cp\\.async\\.cg[^;]*, 16), %r\\d+;", "$1, 0;"
#define LOST_BARRIER "bar\\.sync\\s+0;", ""
#define LOST_TRANS "\\.trans", ""
#define LOST_COMMIT "cp\\.async\\.commit_group;", ""
#define LOST_PRODUCT "mma[^;]*;", ""

/// Kernels by file.
using Kernels = std::map<std::string, std::vector<std::string>>;

class Mutant {
 public:
  /// A device that has the file's kernels `entries` and no others (reading PTX takes longer than running it); m.pattern may be
  /// empty: nothing is changed. beside: kernels of other files, by file.
  Mutant(const Mutation &m, const std::vector<std::string> &entries, const Kernels &beside = {}) {
    cuda::KernelImages images;
    for (const auto &image : ptx::ptx_images()) {
      if (std::string("indices.cu") == image.file) images.push_back(image);
      if (const auto other = beside.find(image.file); other != beside.end()) {
        beside_.push_back(only(static_cast<const char *>(image.data), other->second));
        images.push_back({image.file, beside_.back().c_str()});
      }
      if (std::string(m.file) != image.file) continue;
      text_ = only(static_cast<const char *>(image.data), entries);
      if (*m.pattern) mutate(m);
      images.push_back({image.file, text_.c_str()});
    }
    device_ = std::make_unique<cuda::CudaDevice>(cuda::ops, emulated_driver(ptx::ptx_machine(80)), images, 0,
                                                 emulated_libraries());
  }
  cuda::CudaDevice &device() { return *device_; }
  const Ops &ops() const { return device_->ops; }

  /// values: may be null.
  View tensor(int32_t dtype, std::vector<int64_t> shape, const void *values) {
    View v;
    v.dtype = dtype;
    v.rank = static_cast<int32_t>(shape.size());
    std::copy(shape.begin(), shape.end(), v.shape);
    int64_t step = 1;
    for (size_t i = shape.size(); i-- > 0; step *= shape[i]) v.stride[i] = step;
    const int64_t bytes = v.elements() * dtype_size(dtype);
    v.data = device_->allocate(bytes);
    if (values) device_->copy_from_host(v.data, values, bytes);
    return v;
  }

 private:
  static std::string only(const std::string &text, const std::vector<std::string> &entries) {
    std::string out = text.substr(0, text.find(".visible .entry"));
    for (const std::string &entry : entries) {
      const size_t begin = text.find(".visible .entry " + entry + "(");
      EXPECT_NE(begin, std::string::npos) << "there is no " << entry;
      if (begin != std::string::npos) out += text.substr(begin, text.find("\n}", begin) + 3 - begin);
    }
    return out;
  }

  void mutate(const Mutation &m) {
    const size_t begin = text_.find(std::string(".entry ") + m.entry + "("), end = text_.find("\n}", begin);
    const std::string body = text_.substr(begin, end - begin);
    std::string out;
    const std::regex regex(m.pattern);
    auto at = body.cbegin();
    int n = 0, changed = 0;
    for (std::sregex_iterator i(body.begin(), body.end(), regex), none; i != none; ++i, ++n) {
      if (m.which >= 0 && n != m.which) continue;
      out.append(at, body.cbegin() + i->position());
      out += i->format(m.by);
      at = body.cbegin() + i->position() + i->length();
      changed++;
    }
    out.append(at, body.cend());
    EXPECT_GT(changed, 0) << "the kernel has no " << m.pattern;
    text_.replace(begin, end - begin, out);
  }

  std::string text_;
  std::deque<std::string> beside_;
  std::unique_ptr<cuda::CudaDevice> device_;
};

/// `found`: what running the mutant of m gave, "wrong numbers" or the report.
inline void expect_found(const Mutation &m, const std::string &found) {
  EXPECT_NE(found.find(*m.finds ? m.finds : "wrong numbers"), std::string::npos) << "found: " << found;
}

}  // namespace rl::emulator
