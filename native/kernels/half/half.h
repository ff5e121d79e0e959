// 16-bit floats to f32 and back, for state that is stored in 16 bits and updated in 32.
//
//   widen:  to[i] = from[i], exactly
//   narrow: to[i] = from[i] rounded to nearest, ties to even. f16 saturates at ±65504 instead of overflowing to
//           infinity, so an accumulator that runs away can come back. NaN stays NaN.
//
// count contiguous elements, any alignment; no other memory is touched. From cache a vector costs one load, one store
// and these operations:
//
//             f16                        bf16
//   widen     1 conversion               zero extension, shift
//   narrow    min, max, 1 conversion     8 integer operations: rounding, NaN and packing
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

using WidenFunction = void(const uint16_t* from, float* to, int64_t count);
using NarrowFunction = void(const float* from, uint16_t* to, int64_t count);

extern const KernelTable<WidenFunction> f16_widen_table;
extern const KernelTable<WidenFunction> bf16_widen_table;
extern const KernelTable<NarrowFunction> f16_narrow_table;
extern const KernelTable<NarrowFunction> bf16_narrow_table;

#define MBOK_HALF_DECLARE(isa)            \
  namespace isa {                         \
  WidenFunction f16_widen, bf16_widen;    \
  NarrowFunction f16_narrow, bf16_narrow; \
  }
MBOK_HALF_DECLARE(scalar)
MBOK_HALF_DECLARE(avx2)
MBOK_HALF_DECLARE(avx512)
MBOK_HALF_DECLARE(neon)
#undef MBOK_HALF_DECLARE

}  // namespace mbok
