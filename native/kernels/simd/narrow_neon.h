// Sources of floats stored in 32, 16 or 8 bits. Names and contracts are those of narrow_avx512.h.
#pragma once

#include "kernels/simd/neon.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

struct F32 {
  using Element = float;
  static MBOK_INLINE Vec load(const float* p) { return neon::load(p); }
  static MBOK_INLINE Vec load_n(const float* p, int64_t n) { return neon::load_n(p, n); }
};

MBOK_INLINE Vec widen_f16(const uint16_t* p) {
  const float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(p));
  return {vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
}
MBOK_INLINE Vec widen_bf16(const uint16_t* p) {
  const uint16x8_t halves = vld1q_u16(p);
  return {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(halves), 16)),
          vreinterpretq_f32_u32(vshll_high_n_u16(halves, 16))};
}
MBOK_INLINE Vec widen_i8(const int8_t* p) {
  const int16x8_t numbers = vmovl_s8(vld1_s8(p));
  return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(numbers))), vcvtq_f32_s32(vmovl_high_s16(numbers))};
}

#include "kernels/simd/narrow_body.h"

}  // namespace mbok::neon
#endif
