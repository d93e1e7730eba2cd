#include "cpu/gemm.h"

#include <oneapi/dnnl/dnnl.h>

#include <cstring>

#include "cpu/isa.h"

namespace rl::cpu {
namespace {

// One shape's kernels take some 100 KB; a training run with a dozen matrices and the row counts of kernels/multiply.cpp
// needs a few hundred.
constexpr size_t kEntries = 512;

void check(dnnl_status_t status, const char *what) {
  if (status == dnnl_success) return;
  if (status == dnnl_out_of_memory) fail(RL_OUT_OF_MEMORY, "oneDNN: %s: out of memory", what);
  fail(RL_INTERNAL, "oneDNN: %s: status %d", what, static_cast<int>(status));
}

dnnl_data_type_t type_of(int32_t dtype) { return dtype == RL_BF16 ? dnnl_bf16 : dnnl_f32; }

// Frees what it holds, whatever happens while a primitive is made.
template <class T, dnnl_status_t (*destroy)(T)>
struct Owned {
  T value = nullptr;
  Owned() = default;
  Owned(const Owned &) = delete;
  Owned &operator=(const Owned &) = delete;
  ~Owned() {
    if (value) destroy(value);
  }
};
using Desc = Owned<dnnl_memory_desc_t, dnnl_memory_desc_destroy>;
using Memory = Owned<dnnl_memory_t, dnnl_memory_destroy>;

void strided(Desc &desc, int64_t rows, int64_t cols, int64_t row_step, int64_t col_step, int32_t dtype) {
  const dnnl_dims_t dims = {rows, cols}, strides = {row_step, col_step};
  check(dnnl_memory_desc_create_with_strides(&desc.value, 2, dims, type_of(dtype), strides), "memory descriptor");
}

}  // namespace

/// What a primitive is made for; compared as bytes.
struct Gemm::Shape {
  int64_t m = 0, n = 0, k = 0;
  int64_t x_row = 0, x_col = 0;  // strides
  int64_t b_row = 0, b_col = 0;  // 0: panels
  int64_t y_row = 0;
  int32_t dtype = 0, y_dtype = 0;
  int32_t bias = 0, accumulate = 0;

  uint64_t hash() const {
    uint64_t h = 1469598103934665603u;
    const auto *bytes = reinterpret_cast<const unsigned char *>(this);
    for (size_t i = 0; i < sizeof(Shape); i += 8) {
      uint64_t word;
      std::memcpy(&word, bytes + i, 8);
      h = (h ^ word) * 1099511628211u;
      h ^= h >> 29;
    }
    return h;
  }
  bool operator==(const Shape &other) const { return std::memcmp(this, &other, sizeof(Shape)) == 0; }
};

struct Gemm::Entry {
  static_assert(sizeof(Shape) == 10 * 8, "no padding: shapes are compared as bytes");
  Shape shape;
  Owned<dnnl_primitive_t, dnnl_primitive_destroy> primitive;
  Memory x, b, y, bias, scratchpad;
  int64_t scratchpad_bytes = 0;
};

Gemm::Gemm() {
  const int effective = static_cast<int>(dnnl_get_effective_cpu_isa());
  auto has = [&](dnnl_cpu_isa_t isa) { return (effective & static_cast<int>(isa)) == static_cast<int>(isa); };
  f32_ = best_isa() == Isa::avx512 && has(dnnl_cpu_isa_avx512_core);
  bf16_ = best_isa() == Isa::avx512 && has(dnnl_cpu_isa_avx512_core_bf16);
  check(dnnl_engine_create(&engine_, dnnl_cpu, 0), "engine");
  check(dnnl_stream_create(&stream_, engine_, dnnl_stream_default_flags), "stream");
}

Gemm::~Gemm() {
  index_.clear();
  entries_.clear();
  if (stream_) dnnl_stream_destroy(stream_);
  if (engine_) dnnl_engine_destroy(engine_);
}

Gemm::Entry &Gemm::find(const Shape &shape) {
  const uint64_t hash = shape.hash();
  auto range = index_.equal_range(hash);
  for (auto it = range.first; it != range.second; ++it) {
    if (it->second->shape == shape) {
      entries_.splice(entries_.begin(), entries_, it->second);
      return entries_.front();
    }
  }
  if (entries_.size() >= kEntries) {
    auto last = std::prev(entries_.end());
    auto old = index_.equal_range(last->shape.hash());
    for (auto it = old.first; it != old.second; ++it) {
      if (it->second == last) {
        index_.erase(it);
        break;
      }
    }
    entries_.pop_back();
  }

  Desc x, b, y, bias;
  strided(x, shape.m, shape.k, shape.x_row, shape.x_col, shape.dtype);
  strided(y, shape.m, shape.n, shape.y_row, 1, shape.y_dtype);
  if (shape.b_row) {
    strided(b, shape.k, shape.n, shape.b_row, shape.b_col, shape.dtype);
  } else {
    const dnnl_dims_t dims = {shape.k, shape.n};
    check(dnnl_memory_desc_create_with_tag(&b.value, 2, dims, type_of(shape.dtype),
                                           shape.dtype == RL_BF16 ? dnnl_BA16a64b2a : dnnl_BA16a64b),
          "memory descriptor");
  }
  if (shape.bias) strided(bias, 1, shape.n, shape.n, 1, RL_F32);
  Owned<dnnl_primitive_attr_t, dnnl_primitive_attr_destroy> attr;
  check(dnnl_primitive_attr_create(&attr.value), "attributes");
  check(dnnl_primitive_attr_set_scratchpad_mode(attr.value, dnnl_scratchpad_mode_user), "attributes");
  if (shape.accumulate) {
    Owned<dnnl_post_ops_t, dnnl_post_ops_destroy> sum;
    check(dnnl_post_ops_create(&sum.value), "post-ops");
    check(dnnl_post_ops_append_sum(sum.value, 1.0f, 0, dnnl_data_type_undef), "post-ops");
    check(dnnl_primitive_attr_set_post_ops(attr.value, sum.value), "post-ops");
  }
  Owned<dnnl_primitive_desc_t, dnnl_primitive_desc_destroy> desc;
  check(dnnl_matmul_primitive_desc_create(&desc.value, engine_, x.value, b.value, bias.value, y.value, attr.value),
        "matmul");
  const_dnnl_memory_desc_t scratchpad = dnnl_primitive_desc_query_md(desc.value, dnnl_query_scratchpad_md, 0);

  std::list<Entry> made(1);
  Entry &entry = made.front();
  entry.shape = shape;
  check(dnnl_primitive_create(&entry.primitive.value, desc.value), "matmul");
  auto memory = [&](Memory &m, const_dnnl_memory_desc_t d) {
    check(dnnl_memory_create(&m.value, d, engine_, DNNL_MEMORY_NONE), "memory");
  };
  memory(entry.x, x.value);
  memory(entry.b, b.value);
  memory(entry.y, y.value);
  if (shape.bias) memory(entry.bias, bias.value);
  if (scratchpad) entry.scratchpad_bytes = static_cast<int64_t>(dnnl_memory_desc_get_size(scratchpad));
  if (entry.scratchpad_bytes) memory(entry.scratchpad, scratchpad);
  entries_.splice(entries_.begin(), made);
  try {
    index_.emplace(hash, entries_.begin());
  } catch (...) {
    entries_.pop_front();
    throw;
  }
  return entries_.front();
}

void Gemm::run(CpuDevice &device, Entry &entry, void *y, const void *x, const void *b, const float *bias) {
  dnnl_exec_arg_t args[5];
  int count = 0;
  auto add = [&](int name, const Memory &memory, const void *data) {
    check(dnnl_memory_set_data_handle(memory.value, const_cast<void *>(data)), "memory");
    args[count++] = {name, memory.value};
  };
  add(DNNL_ARG_SRC, entry.x, x);
  add(DNNL_ARG_WEIGHTS, entry.b, b);
  add(DNNL_ARG_DST, entry.y, y);
  if (entry.bias.value) add(DNNL_ARG_BIAS, entry.bias, bias);
  if (entry.scratchpad.value) add(DNNL_ARG_SCRATCHPAD, entry.scratchpad, device.scratch<char>(entry.scratchpad_bytes));
  check(dnnl_primitive_execute(entry.primitive.value, stream_, count, args), "matmul");
}

void Gemm::multiply(CpuDevice &device, View y, View x, const Matrix &b, const float *bias, bool accumulate) {
  Shape shape;
  shape.m = x.rows();
  shape.n = b.n;
  shape.k = b.k;
  // One row has no stride of its own: give it the dense one, so that it finds the primitive of its shape.
  shape.x_row = shape.m > 1 ? x.row_stride() : b.k;
  shape.x_col = 1;
  shape.y_row = shape.m > 1 ? y.row_stride() : b.n;
  if (b.layout == Layout::by_column) shape.b_row = 1, shape.b_col = b.k;
  if (b.layout == Layout::by_row) shape.b_row = b.n, shape.b_col = 1;
  shape.dtype = b.dtype;
  shape.y_dtype = y.dtype;
  shape.bias = bias != nullptr;
  shape.accumulate = accumulate;
  run(device, find(shape), y.data, x.data, b.data, bias);
}

void Gemm::add_transposed(CpuDevice &device, View y, View a, View b) {
  Shape shape;
  shape.m = a.cols();
  shape.n = b.cols();
  shape.k = a.rows();
  shape.x_row = 1;
  shape.x_col = a.rows() > 1 ? a.row_stride() : a.cols();
  shape.b_row = b.rows() > 1 ? b.row_stride() : b.cols();
  shape.b_col = 1;
  shape.y_row = shape.n;
  shape.dtype = a.dtype;
  shape.y_dtype = RL_F32;
  shape.accumulate = 1;
  run(device, find(shape), y.data, a.data, b.data, nullptr);
}

}  // namespace rl::cpu
