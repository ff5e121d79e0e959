// Rotary position embedding of the halves of each head: for j < d/2, with c = cos, s = sin of the position's angles,
//   y_j = x_j c_j − x_{j+d/2} s_j,   y_{j+d/2} = x_{j+d/2} c_j + x_j s_j.
// direction −1 turns back (s → −s), which is the gradient, since a rotation's transpose is its inverse.
//
// One row: `heads` heads of d floats each. table: d/2 cosines, then d/2 sines. y may be x. Memory bound: six
// multiplications or additions a pair.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

using RopeFunction = void(const float* x, const float* table, float* y, int64_t heads, int64_t d, float direction);

namespace scalar {
RopeFunction rope;
}
namespace avx2 {
RopeFunction rope;
}
namespace avx512 {
RopeFunction rope;
}

extern const KernelTable<RopeFunction> rope_table;

}  // namespace mbok
