// 16-bit floats to f32 and back, for state that is kept in 16 bits and worked on in 32.
//
//   widen:  to[i] = from[i], exactly
//   narrow: to[i] = from[i] rounded to nearest, ties to even. f16 saturates at ±65504 instead of overflowing to
//           infinity: an accumulator that runs away must be able to come back. NaN stays NaN.
//
// count elements without gaps, no alignment needed, nothing beyond is touched. From cache a vector of elements costs
// one load, one or two conversions (bf16: a shift; rounding it back is an add, a shift and a permute) and one store.
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

#define MBOK_HALF_DECLARE(isa)         \
  namespace isa {                      \
  WidenFunction f16_widen, bf16_widen; \
  NarrowFunction f16_narrow, bf16_narrow; \
  }
MBOK_HALF_DECLARE(scalar)
MBOK_HALF_DECLARE(avx2)
MBOK_HALF_DECLARE(avx512)
MBOK_HALF_DECLARE(neon)
#undef MBOK_HALF_DECLARE

}  // namespace mbok
