// Sources of floats that lie in memory in 32, 16 or 8 bits. The same names as narrow_avx512.h; see there. AVX2 has no
// masked loads of narrow elements, so the last few go through a buffer of a register's size.
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

template <class Source>
MBOK_INLINE Vec load_by_buffer(const typename Source::Element* p, int64_t n) {
  typename Source::Element buffer[8] = {};
  for (int64_t i = 0; i < n; ++i) buffer[i] = p[i];
  return Source::load(buffer);
}

struct F16 {
  using Element = uint16_t;
  static MBOK_INLINE Vec load(const uint16_t* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
  }
  static MBOK_INLINE Vec load_n(const uint16_t* p, int64_t n) { return n == kLanes ? load(p) : load_by_buffer<F16>(p, n); }
};

struct Bf16 {
  using Element = uint16_t;
  static MBOK_INLINE Vec load(const uint16_t* p) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))};
  }
  static MBOK_INLINE Vec load_n(const uint16_t* p, int64_t n) { return n == kLanes ? load(p) : load_by_buffer<Bf16>(p, n); }
};

struct I8 {
  using Element = int8_t;
  static MBOK_INLINE Vec load(const int8_t* p) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
  }
  static MBOK_INLINE Vec load_n(const int8_t* p, int64_t n) { return n == kLanes ? load(p) : load_by_buffer<I8>(p, n); }
};

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
