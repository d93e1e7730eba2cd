// Products with matrices in NF4.
#pragma once

#include "cpu/kernels/multiply.h"

namespace rl::cpu::RL_ISA {

/// As multiply(), for a B whose layout is nf4 or nf4_by_row. A row's bits do not depend on m.
void multiply_nf4(CpuDevice &device, const View &y, View x, Matrix b, const float *bias, bool accumulate);

/// y[0 .. k) = row `row` of w.
void nf4_row(float *y, const Nf4Matrix &w, int64_t row);

}  // namespace rl::cpu::RL_ISA
