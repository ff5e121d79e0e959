// Lanes of a Mask as the low bits of a word, for code that reads rows of packed ±1 bits.
#pragma once

#include "kernels/simd/avx2.h"
#include "kernels/simd/avx512.h"
#include "kernels/simd/neon.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
// Lane l of the mask is bit l; higher bits are ignored.
MBOK_INLINE Mask mask_of(uint64_t bits) {
  const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i own = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits & 0xff)), lane);
  return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(own, lane))};
}
MBOK_INLINE uint64_t bits_of(Mask mask) { return static_cast<uint64_t>(_mm256_movemask_ps(mask.m)); }
// Returns −a where the bit is 1.
MBOK_INLINE Vec flipped_by(Vec a, uint64_t bits) {
  return {_mm256_xor_ps(a.v, _mm256_and_ps(mask_of(bits).m, _mm256_set1_ps(-0.0f)))};
}
// Returns a where the bit is 1, −a where it is 0.
MBOK_INLINE Vec signed_by(Vec a, uint64_t bits) {
  return {_mm256_xor_ps(a.v, _mm256_andnot_ps(mask_of(bits).m, _mm256_set1_ps(-0.0f)))};
}
// Returns a with the sign of a·b.
MBOK_INLINE Vec times_sign(Vec a, Vec b) { return {_mm256_xor_ps(a.v, _mm256_and_ps(b.v, _mm256_set1_ps(-0.0f)))}; }
}  // namespace mbok::avx2
MBOK_TARGET_END

MBOK_TARGET_AVX512
namespace mbok::avx512 {
MBOK_INLINE Mask mask_of(uint64_t bits) { return {static_cast<__mmask16>(bits & 0xffff)}; }
MBOK_INLINE uint64_t bits_of(Mask mask) { return static_cast<uint64_t>(mask.m); }
MBOK_INLINE Vec flipped_by(Vec a, uint64_t bits) {
  return {_mm512_mask_xor_ps(a.v, mask_of(bits).m, a.v, _mm512_set1_ps(-0.0f))};
}
MBOK_INLINE Vec signed_by(Vec a, uint64_t bits) {
  const __mmask16 negative = static_cast<__mmask16>(~bits & 0xffff);
  return {_mm512_mask_xor_ps(a.v, negative, a.v, _mm512_set1_ps(-0.0f))};
}
MBOK_INLINE Vec times_sign(Vec a, Vec b) { return {_mm512_xor_ps(a.v, _mm512_and_ps(b.v, _mm512_set1_ps(-0.0f)))}; }
}  // namespace mbok::avx512
MBOK_TARGET_END
#endif

#if defined(MBOK_NEON)
namespace mbok::neon {
MBOK_INLINE Mask mask_of(uint64_t bits) {
  const uint32x4_t own = vdupq_n_u32(static_cast<uint32_t>(bits & 0xff));
  return {vtstq_u32(own, uint32x4_t{1, 2, 4, 8}), vtstq_u32(own, uint32x4_t{16, 32, 64, 128})};
}
MBOK_INLINE uint64_t bits_of(Mask mask) {
  const uint16x8_t lanes = vuzp1q_u16(vreinterpretq_u16_u32(mask.low), vreinterpretq_u16_u32(mask.high));
  return vaddvq_u16(vandq_u16(lanes, uint16x8_t{1, 2, 4, 8, 16, 32, 64, 128}));
}
MBOK_INLINE Vec flipped_by(Vec a, uint64_t bits) { return select(mask_of(bits), -a, a); }
MBOK_INLINE Vec signed_by(Vec a, uint64_t bits) { return select(mask_of(bits), a, -a); }
MBOK_INLINE Vec times_sign(Vec a, Vec b) {
  // the signs of −0 and of NaN count too
  const Mask negative = {vcltzq_s32(vreinterpretq_s32_f32(b.low)), vcltzq_s32(vreinterpretq_s32_f32(b.high))};
  return select(negative, -a, a);
}
}  // namespace mbok::neon
#endif
