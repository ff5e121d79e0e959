// Weights in 8 bits with one scale a row: w[j] ≈ scale · q[j].
//
//   widen:    to[j] = scale · from[j], rounded once
//   quantize: scale = max |from| / 127 rounded to f16, as files hold it; to[j] = from[j] / scale rounded to nearest,
//             ties to even, within ±127; zeros where the scale is zero. Returns the scale and Σ from², Σ (from − to)²
//             (not finite if an element is not).
//
// count elements without gaps, no alignment needed, nothing beyond is touched. A vector is widened by one load, two
// conversions, a product and a store: from memory bound by that, as everything here reads more than it computes.
// Quantizing happens once in a conversion: scalar, a few nanoseconds an element.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

struct Int8Row {
  float scale;
  double norm, error;
};

using Int8WidenFunction = void(const int8_t* from, float scale, float* to, int64_t count);
using Int8QuantizeFunction = Int8Row(const float* from, int8_t* to, int64_t count);

extern const KernelTable<Int8WidenFunction> int8_widen_table;
extern const KernelTable<Int8QuantizeFunction> int8_quantize_table;

namespace scalar {
Int8WidenFunction int8_widen;
Int8QuantizeFunction int8_quantize;
}  // namespace scalar
MBOK_DECLARE_VECTOR(Int8WidenFunction int8_widen;)

}  // namespace mbok
