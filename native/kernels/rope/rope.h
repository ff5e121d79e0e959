// Rotary position embedding of the first `turned` = 2h ≤ d numbers of each head. For j < h, with c = cos and s = sin of
// the position's angles:
//   y_j = x_j c_j − x_{j+h} s_j,   y_{j+h} = x_{j+h} c_j + x_j s_j;   the other d − 2h numbers are copied.
// direction −1 rotates back (s → −s). This is the gradient, since a rotation's transpose is its inverse.
//
// One row: `heads` heads of d floats each. table: h cosines, then h sines. y may be x. Memory-bound: four
// multiplications and two additions per pair.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

using RopeFunction = void(const float* x, const float* table, float* y, int64_t heads, int64_t d, int64_t turned,
                          float direction);

namespace scalar {
RopeFunction rope;
}
MBOK_DECLARE_VECTOR(RopeFunction rope;)

extern const KernelTable<RopeFunction> rope_table;

}  // namespace mbok
