// Returns Σⱼ a_j b_j of floats in f64, any alignment. Two conversions and an fma per Wide: bound by loads.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

using DotFunction = double(const float* a, const float* b, int64_t n);

namespace scalar {
DotFunction dot;
}
MBOK_DECLARE_VECTOR(DotFunction dot;)

extern const KernelTable<DotFunction> dot_table;

}  // namespace mbok
