// Vec: sixteen floats (AVX-512 F, BW, DQ, VL). avx2.h and neon.h define the same names for eight. Vector code is
// written once, in a body header that is included into each namespace.
//
// Products and sums are fused only where the code says fma, so results do not depend on the compiler.
#pragma once

#include <cstdint>

#include "kernels/simd/intrinsics.h"
#include "kernels/simd/target.h"

#if defined(MBOK_X86)

MBOK_TARGET_AVX512
namespace mbok::avx512 {

constexpr int64_t kLanes = 16;

struct Vec {
  __m512 v;
};
struct Mask {
  __mmask16 m;
};

// Returns a mask of the first n lanes, n in [0, 16].
MBOK_INLINE Mask first_lanes(int64_t n) { return {static_cast<__mmask16>((1u << n) - 1u)}; }

MBOK_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
// Reads n floats, n in [0, 16], and no other memory; the other lanes are 0.
MBOK_INLINE Vec load_n(const float* p, int64_t n) {
  return n == kLanes ? load(p) : Vec{_mm512_maskz_loadu_ps(first_lanes(n).m, p)};
}
MBOK_INLINE void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
MBOK_INLINE void store_n(float* p, Vec a, int64_t n) {
  if (n == kLanes)
    store(p, a);
  else
    _mm512_mask_storeu_ps(p, first_lanes(n).m, a.v);
}
MBOK_INLINE Vec broadcast(float x) { return {_mm512_set1_ps(x)}; }
MBOK_INLINE Vec zero() { return {_mm512_setzero_ps()}; }
// Returns 0, 1, 2, …
MBOK_INLINE Vec lane_index() { return {_mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)}; }

MBOK_INLINE Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
MBOK_INLINE Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
MBOK_INLINE Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
MBOK_INLINE Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
MBOK_INLINE Vec operator-(Vec a) { return {_mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f))}; }
MBOK_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }    // ab + c
MBOK_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }  // c − ab
// Return the second operand if one is NaN.
MBOK_INLINE Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
MBOK_INLINE Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
MBOK_INLINE Vec abs(Vec a) { return {_mm512_andnot_ps(_mm512_set1_ps(-0.0f), a.v)}; }
MBOK_INLINE Vec sqrt(Vec a) { return {_mm512_sqrt_ps(a.v)}; }
// Returns |a| with the sign of b.
MBOK_INLINE Vec copy_sign(Vec a, Vec b) {
  const __m512 sign = _mm512_set1_ps(-0.0f);
  return {_mm512_or_ps(_mm512_andnot_ps(sign, a.v), _mm512_and_ps(sign, b.v))};
}
MBOK_INLINE Vec round_even(Vec a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
// Returns a · 2^n for integral n. Overflow and underflow are those of the exact product.
MBOK_INLINE Vec scale_by_power(Vec a, Vec n) { return {_mm512_scalef_ps(a.v, n.v)}; }

MBOK_INLINE Mask operator<(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
MBOK_INLINE Mask operator<=(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
MBOK_INLINE Mask operator>(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
MBOK_INLINE Mask operator>=(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
MBOK_INLINE Mask operator==(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
MBOK_INLINE Mask operator&(Mask a, Mask b) { return {static_cast<__mmask16>(a.m & b.m)}; }
MBOK_INLINE Mask operator|(Mask a, Mask b) { return {static_cast<__mmask16>(a.m | b.m)}; }
MBOK_INLINE bool any(Mask a) { return a.m != 0; }
MBOK_INLINE bool all(Mask a) { return a.m == 0xffff; }
MBOK_INLINE Vec select(Mask m, Vec yes, Vec no) { return {_mm512_mask_blend_ps(m.m, no.v, yes.v)}; }

// Reduce by adding (comparing) halves until one lane is left: a fixed order.
MBOK_INLINE float reduce_add(Vec a) {
  __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
MBOK_INLINE float reduce_max(Vec a) {
  __m256 h = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

#include "kernels/simd/math_body.h"

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
