// Weights in 8 bits with one scale per row: w[j] ≈ scale · q[j].
//
//   widen:    to[j] = scale · from[j], rounded once
//   quantize: scale = max |from| / 127 rounded to f16, as files store it; to[j] = from[j] / scale rounded to nearest,
//             ties to even, within ±127; zeros if the scale is zero. Returns the scale, Σ from² and
//             Σ (from − scale · to)², which are not finite if an element is not.
//
// count contiguous elements, any alignment; no other memory is touched. Widening a vector costs a load, two
// conversions, a multiplication and a store: memory-bound. Quantizing runs once per conversion: scalar, a few
// nanoseconds per element.
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
