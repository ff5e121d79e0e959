// Codes of up to 8 signs held as integers in the lanes of a Vec, for search_body.h.
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
