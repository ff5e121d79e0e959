// Codes of up to 8 signs as integers in the lanes of a Vec, for search_body.h.
#pragma once

#include "kernels/simd/mask_bits.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
MBOK_INLINE Vec broadcast_code(int code) { return {_mm256_castsi256_ps(_mm256_set1_epi32(code))}; }
MBOK_INLINE uint64_t lanes_with_bit(Vec codes, int k) {
  const __m256i shifted = _mm256_slli_epi32(_mm256_castps_si256(codes.v), 31 - k);
  return static_cast<uint64_t>(_mm256_movemask_ps(_mm256_castsi256_ps(shifted)));
}
}  // namespace mbok::avx2
MBOK_TARGET_END

MBOK_TARGET_AVX512
namespace mbok::avx512 {
MBOK_INLINE Vec broadcast_code(int code) { return {_mm512_castsi512_ps(_mm512_set1_epi32(code))}; }
MBOK_INLINE uint64_t lanes_with_bit(Vec codes, int k) {
  return _mm512_test_epi32_mask(_mm512_castps_si512(codes.v), _mm512_set1_epi32(1 << k));
}
}  // namespace mbok::avx512
MBOK_TARGET_END
#endif

#if defined(MBOK_NEON)
namespace mbok::neon {
MBOK_INLINE Vec broadcast_code(int code) {
  const float32x4_t lanes = vreinterpretq_f32_s32(vdupq_n_s32(code));
  return {lanes, lanes};
}
MBOK_INLINE uint64_t lanes_with_bit(Vec codes, int k) {
  const uint32x4_t bit = vdupq_n_u32(1u << k);
  return bits_of({vtstq_u32(vreinterpretq_u32_f32(codes.low), bit), vtstq_u32(vreinterpretq_u32_f32(codes.high), bit)});
}
}  // namespace mbok::neon
#endif
