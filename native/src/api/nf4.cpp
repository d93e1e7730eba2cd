#include "dispatch/op.h"

using namespace rl;

static constexpr int32_t kMostParts = 64;

/// The tensors of `t`, named as "PREFIX.codes"; `write`: all but nestedCode are outputs.
static Nf4 resolve(Op &op, const std::string *names, const rl_nf4 &t, bool write) {
  // As for tensors: so small that no product below overflows.
  const int64_t limit = int64_t{1} << 31;
  RL_REQUIRE(t.rows > 0 && t.cols > 0 && t.rows < limit && t.cols < limit,
             "%s: expected rows and cols from 1 to 2^31 - 1, found [%lld,%lld]", names[0].c_str(),
             static_cast<long long>(t.rows), static_cast<long long>(t.cols));
  const int64_t values = t.rows * t.cols, blocks = (values + 63) / 64;
  auto get = [&](int name, const rl_tensor &tensor) {
    return write ? op.output(names[name].c_str(), &tensor) : op.input(names[name].c_str(), &tensor);
  };
  Nf4 m;
  m.rows = t.rows;
  m.cols = t.cols;
  m.codes = get(1, t.codes).dtype(RL_U8).shape({(values + 1) / 2}).dense();
  m.absmax = get(2, t.absmax).shape({blocks}).dense();
  RL_REQUIRE(m.absmax.dtype == RL_F32 || m.absmax.dtype == RL_U8, "%s: expected f32 or u8, found %s", names[2].c_str(),
             dtype_name(m.absmax.dtype));
  if (m.absmax.dtype == RL_U8) {
    m.nestedCode = op.input(names[3].c_str(), &t.nestedCode).dtype(RL_F32).shape({256}).dense();
    m.nestedAbsmax = get(4, t.nestedAbsmax).dtype(RL_F32).shape({(blocks + 255) / 256}).dense();
    m.offset = get(5, t.offset).dtype(RL_F32).shape({1}).dense();
  } else {
    const rl_tensor *absent[] = {&t.nestedCode, &t.nestedAbsmax, &t.offset};
    for (int i = 0; i < 3; i++) {
      RL_REQUIRE(absent[i]->buffer == 0, "%s: expected buffer 0 beside an absmax in f32, found a tensor",
                 names[3 + i].c_str());
    }
  }
  return m;
}

/// What the errors and checks of aliasing call the tensors; they live as long as the Op.
struct Names {
  explicit Names(const std::string &prefix) {
    static const char *const fields[] = {"", ".codes", ".absmax", ".nestedCode", ".nestedAbsmax", ".offset"};
    for (int i = 0; i < 6; i++) text[i] = prefix + fields[i];
  }
  std::string text[6];
};

rl_status rl_nf4_quantize(const rl_nf4 *y, const rl_tensor *w) {
  const Names names("y");
  return call("nf4_quantize", [&](Op &op) {
    RL_REQUIRE(y, "y: expected a matrix in NF4, found null");
    const Nf4 m = resolve(op, names.text, *y, true);
    View vw = op.input("w", w).floating().shape({m.rows, m.cols}).dense();
    op.no_alias();
    op.device().ops.nf4_quantize(op.device(), m, vw);
  });
}

rl_status rl_nf4_dequantize(const rl_tensor *w, const rl_nf4 *x) {
  const Names names("x");
  return call("nf4_dequantize", [&](Op &op) {
    RL_REQUIRE(x, "x: expected a matrix in NF4, found null");
    const Nf4 m = resolve(op, names.text, *x, false);
    View vw = op.output("w", w).floating().shape({m.rows, m.cols}).dense();
    op.no_alias();
    op.device().ops.nf4_dequantize(op.device(), vw, m);
  });
}

rl_status rl_weight_pack_nf4(rl_weight *weight, const rl_nf4 *parts, int32_t count, int32_t dtype) {
  std::vector<Names> names;
  return call("weight_pack_nf4", [&](Op &op) {
    RL_REQUIRE(weight, "weight: expected a place for the handle, found null");
    RL_REQUIRE(parts, "parts: expected matrices in NF4, found null");
    RL_REQUIRE(count > 0 && count <= kMostParts, "count: expected 1 to %d parts, found %d", kMostParts, count);
    RL_REQUIRE(dtype == RL_F32 || dtype == RL_BF16, "dtype: expected f32 or bf16, found %s", dtype_name(dtype));
    names.reserve(static_cast<size_t>(count));
    std::vector<Nf4> resolved;
    for (int32_t i = 0; i < count; i++) {
      const std::string name = format("parts[%d]", i);
      names.emplace_back(name);
      const Nf4 m = resolve(op, names.back().text, parts[i], false);
      resolved.push_back(m);
      RL_REQUIRE(m.cols == resolved[0].cols, "%s: expected %lld columns, as parts[0] has, found %lld", name.c_str(),
                 static_cast<long long>(resolved[0].cols), static_cast<long long>(m.cols));
      RL_REQUIRE(m.absmax.dtype == resolved[0].absmax.dtype, "%s.absmax: expected %s, as parts[0] has, found %s",
                 name.c_str(), dtype_name(resolved[0].absmax.dtype), dtype_name(m.absmax.dtype));
    }
    Buffer buffer;
    find_buffer(parts[0].codes.buffer, buffer);
    std::shared_ptr<Weight> made = op.device().pack_nf4(resolved.data(), count, dtype);
    *weight = register_weight({buffer.device, std::move(made), 0, View{}});
  });
}
