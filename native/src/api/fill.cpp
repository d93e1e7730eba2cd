#include <cmath>

#include "dispatch/op.h"

using namespace rl;

rl_status rl_fill(const rl_tensor *y, double value) {
  return call("fill", [&](Op &op) {
    View vy = op.output("y", y);
    if (vy.dtype == RL_I32 || vy.dtype == RL_U8) {
      const double low = vy.dtype == RL_I32 ? -2147483648.0 : 0, high = vy.dtype == RL_I32 ? 2147483647.0 : 255;
      RL_REQUIRE(value >= low && value <= high && std::floor(value) == value,
                 "value: expected a whole number that %s can hold, found %g", dtype_name(vy.dtype), value);
    }
    if (vy.elements() > 0) op.device().ops.fill(op.device(), vy, value);
  });
}
