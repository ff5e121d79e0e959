// Sources of floats stored in 32, 16 or 8 bits. Names and contracts are those of narrow_avx512.h.
#pragma once

#include "kernels/simd/avx2.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {

struct F32 {
  using Element = float;
  static MBOK_INLINE Vec load(const float* p) { return avx2::load(p); }
  static MBOK_INLINE Vec load_n(const float* p, int64_t n) { return avx2::load_n(p, n); }
};

MBOK_INLINE Vec widen_f16(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
MBOK_INLINE Vec widen_bf16(const uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))};
}
MBOK_INLINE Vec widen_i8(const int8_t* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
}

#include "kernels/simd/narrow_body.h"

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
