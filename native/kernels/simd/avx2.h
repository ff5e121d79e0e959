// Vec: eight floats (AVX2, FMA, F16C). Names and contracts are those of avx512.h.
#pragma once

#include <cstdint>

#include "kernels/simd/intrinsics.h"
#include "kernels/simd/target.h"

#if defined(MBOK_X86)

MBOK_TARGET_AVX2
namespace mbok::avx2 {

constexpr int64_t kLanes = 8;

struct Vec {
  __m256 v;
};
struct Mask {
  __m256 m;  // all ones or all zeros in every lane
};

// Returns a mask of the first n lanes, n in [0, 8].
MBOK_INLINE Mask first_lanes(int64_t n) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), index))};
}

MBOK_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
// Reads n floats, n in [0, 8], and no other memory; the other lanes are 0.
MBOK_INLINE Vec load_n(const float* p, int64_t n) {
  return n == kLanes ? load(p) : Vec{_mm256_maskload_ps(p, _mm256_castps_si256(first_lanes(n).m))};
}
MBOK_INLINE void store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
MBOK_INLINE void store_n(float* p, Vec a, int64_t n) {
  if (n == kLanes)
    store(p, a);
  else
    _mm256_maskstore_ps(p, _mm256_castps_si256(first_lanes(n).m), a.v);
}
MBOK_INLINE Vec broadcast(float x) { return {_mm256_set1_ps(x)}; }
MBOK_INLINE Vec zero() { return {_mm256_setzero_ps()}; }
// Returns 0, 1, 2, …
MBOK_INLINE Vec lane_index() { return {_mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7)}; }

MBOK_INLINE Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
MBOK_INLINE Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
MBOK_INLINE Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
MBOK_INLINE Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
MBOK_INLINE Vec operator-(Vec a) { return {_mm256_xor_ps(a.v, _mm256_set1_ps(-0.0f))}; }
MBOK_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }    // ab + c
MBOK_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }  // c − ab
// Return the second operand if one is NaN.
MBOK_INLINE Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
MBOK_INLINE Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
MBOK_INLINE Vec abs(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
MBOK_INLINE Vec sqrt(Vec a) { return {_mm256_sqrt_ps(a.v)}; }
// Returns |a| with the sign of b.
MBOK_INLINE Vec copy_sign(Vec a, Vec b) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(sign, a.v), _mm256_and_ps(sign, b.v))};
}
MBOK_INLINE Vec round_even(Vec a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
// Returns a · 2^n for integral n in [−252, 254]. Overflow and underflow are those of the exact product, apart from a
// possible second rounding of denormal results.
MBOK_INLINE Vec scale_by_power(Vec a, Vec n) {
  // two factors, because 2^n itself may not be a normal number
  const __m256i whole = _mm256_cvtps_epi32(n.v);
  const __m256i half = _mm256_srai_epi32(whole, 1);
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256i low = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
  const __m256i high = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23);
  return {_mm256_mul_ps(_mm256_mul_ps(a.v, _mm256_castsi256_ps(low)), _mm256_castsi256_ps(high))};
}

MBOK_INLINE Mask operator<(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
MBOK_INLINE Mask operator<=(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
MBOK_INLINE Mask operator>(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)}; }
MBOK_INLINE Mask operator>=(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GE_OQ)}; }
MBOK_INLINE Mask operator==(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)}; }
MBOK_INLINE Mask operator&(Mask a, Mask b) { return {_mm256_and_ps(a.m, b.m)}; }
MBOK_INLINE Mask operator|(Mask a, Mask b) { return {_mm256_or_ps(a.m, b.m)}; }
MBOK_INLINE bool any(Mask a) { return _mm256_movemask_ps(a.m) != 0; }
MBOK_INLINE bool all(Mask a) { return _mm256_movemask_ps(a.m) == 0xff; }
MBOK_INLINE Vec select(Mask m, Vec yes, Vec no) { return {_mm256_blendv_ps(no.v, yes.v, m.m)}; }

// Reduce by adding (comparing) halves until one lane is left: a fixed order.
MBOK_INLINE float reduce_add(Vec a) {
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
MBOK_INLINE float reduce_max(Vec a) {
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

#include "kernels/simd/math_body.h"

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
