// Sources of floats stored in 32, 16 or 8 bits, for code written once for all of them. narrow_avx2.h and narrow_neon.h
// define the same names.
#pragma once

#include "kernels/simd/avx512.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {

// load: sixteen elements, exactly. load_n: n of them, n in [0, 16], and no other memory; the other lanes are 0.
struct F32 {
  using Element = float;
  static MBOK_INLINE Vec load(const float* p) { return avx512::load(p); }
  static MBOK_INLINE Vec load_n(const float* p, int64_t n) { return avx512::load_n(p, n); }
};

struct F16 {
  using Element = uint16_t;
  static MBOK_INLINE Vec widen(__m256i halves) { return {_mm512_cvtph_ps(halves)}; }
  static MBOK_INLINE Vec load(const uint16_t* p) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static MBOK_INLINE Vec load_n(const uint16_t* p, int64_t n) {
    return n == kLanes ? load(p) : widen(_mm256_maskz_loadu_epi16(first_lanes(n).m, p));
  }
};

struct Bf16 {
  using Element = uint16_t;
  static MBOK_INLINE Vec widen(__m256i halves) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))};
  }
  static MBOK_INLINE Vec load(const uint16_t* p) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static MBOK_INLINE Vec load_n(const uint16_t* p, int64_t n) {
    return n == kLanes ? load(p) : widen(_mm256_maskz_loadu_epi16(first_lanes(n).m, p));
  }
};

struct I8 {
  using Element = int8_t;
  static MBOK_INLINE Vec widen(__m128i bytes) { return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))}; }
  static MBOK_INLINE Vec load(const int8_t* p) { return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static MBOK_INLINE Vec load_n(const int8_t* p, int64_t n) {
    return n == kLanes ? load(p) : widen(_mm_maskz_loadu_epi8(first_lanes(n).m, p));
  }
};

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
