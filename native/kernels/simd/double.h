// Wide: half as many doubles as a Vec has floats (AVX2, NEON: 4, AVX-512: 8), for ill-conditioned sums. Loads from
// floats or doubles. The names are the same in all namespaces, as in avx2.h, avx512.h and neon.h.
#pragma once

#include "kernels/simd/avx2.h"
#include "kernels/simd/avx512.h"
#include "kernels/simd/neon.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {

constexpr int64_t kWideLanes = 4;

struct Wide {
  __m256d v;
};

MBOK_INLINE Wide load_wide(const double* p) { return {_mm256_loadu_pd(p)}; }
MBOK_INLINE void store_wide(double* p, Wide a) { _mm256_storeu_pd(p, a.v); }
MBOK_INLINE __m256i first_wide(int64_t n) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}
// Reads n doubles, n in [0, 4], and no other memory; the other lanes are 0.
MBOK_INLINE Wide load_wide_n(const double* p, int64_t n) {
  return n == kWideLanes ? load_wide(p) : Wide{_mm256_maskload_pd(p, first_wide(n))};
}
MBOK_INLINE void store_wide_n(double* p, Wide a, int64_t n) {
  if (n == kWideLanes)
    store_wide(p, a);
  else
    _mm256_maskstore_pd(p, first_wide(n), a.v);
}
MBOK_INLINE Wide widen(const float* p) { return {_mm256_cvtps_pd(_mm_loadu_ps(p))}; }
MBOK_INLINE Wide widen_n(const float* p, int64_t n) {
  if (n == kWideLanes) return widen(p);
  const __m128i mask = _mm_cmpgt_epi32(_mm_set1_epi32(static_cast<int>(n)), _mm_setr_epi32(0, 1, 2, 3));
  return {_mm256_cvtps_pd(_mm_maskload_ps(p, mask))};
}
MBOK_INLINE Wide broadcast_wide(double x) { return {_mm256_set1_pd(x)}; }
MBOK_INLINE Wide operator+(Wide a, Wide b) { return {_mm256_add_pd(a.v, b.v)}; }
MBOK_INLINE Wide operator-(Wide a, Wide b) { return {_mm256_sub_pd(a.v, b.v)}; }
MBOK_INLINE Wide operator*(Wide a, Wide b) { return {_mm256_mul_pd(a.v, b.v)}; }
MBOK_INLINE Wide fma(Wide a, Wide b, Wide c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
MBOK_INLINE Wide fnma(Wide a, Wide b, Wide c) { return {_mm256_fnmadd_pd(a.v, b.v, c.v)}; }
MBOK_INLINE Wide abs(Wide a) { return {_mm256_andnot_pd(_mm256_set1_pd(-0.0), a.v)}; }
// Returns a where the bit is 1, −a where it is 0; ignores bits beyond the lanes.
MBOK_INLINE Wide signed_by(Wide a, uint64_t bits) {
  const __m256i lane = _mm256_setr_epi64x(1, 2, 4, 8);
  const __m256i own = _mm256_and_si256(_mm256_set1_epi64x(static_cast<long long>(bits)), lane);
  const __m256d positive = _mm256_castsi256_pd(_mm256_cmpeq_epi64(own, lane));
  return {_mm256_xor_pd(a.v, _mm256_andnot_pd(positive, _mm256_set1_pd(-0.0)))};
}
// Adds halves until one lane is left.
MBOK_INLINE double reduce_add(Wide a) {
  const __m128d h = _mm_add_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(h, _mm_unpackhi_pd(h, h)));
}

}  // namespace mbok::avx2
MBOK_TARGET_END

MBOK_TARGET_AVX512
namespace mbok::avx512 {

constexpr int64_t kWideLanes = 8;

struct Wide {
  __m512d v;
};

MBOK_INLINE Wide load_wide(const double* p) { return {_mm512_loadu_pd(p)}; }
MBOK_INLINE void store_wide(double* p, Wide a) { _mm512_storeu_pd(p, a.v); }
MBOK_INLINE __mmask8 first_wide(int64_t n) { return static_cast<__mmask8>((1u << n) - 1u); }
MBOK_INLINE Wide load_wide_n(const double* p, int64_t n) {
  return n == kWideLanes ? load_wide(p) : Wide{_mm512_maskz_loadu_pd(first_wide(n), p)};
}
MBOK_INLINE void store_wide_n(double* p, Wide a, int64_t n) {
  if (n == kWideLanes)
    store_wide(p, a);
  else
    _mm512_mask_storeu_pd(p, first_wide(n), a.v);
}
MBOK_INLINE Wide widen(const float* p) { return {_mm512_cvtps_pd(_mm256_loadu_ps(p))}; }
MBOK_INLINE Wide widen_n(const float* p, int64_t n) {
  return n == kWideLanes ? widen(p) : Wide{_mm512_cvtps_pd(_mm256_maskz_loadu_ps(first_wide(n), p))};
}
MBOK_INLINE Wide broadcast_wide(double x) { return {_mm512_set1_pd(x)}; }
MBOK_INLINE Wide operator+(Wide a, Wide b) { return {_mm512_add_pd(a.v, b.v)}; }
MBOK_INLINE Wide operator-(Wide a, Wide b) { return {_mm512_sub_pd(a.v, b.v)}; }
MBOK_INLINE Wide operator*(Wide a, Wide b) { return {_mm512_mul_pd(a.v, b.v)}; }
MBOK_INLINE Wide fma(Wide a, Wide b, Wide c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
MBOK_INLINE Wide fnma(Wide a, Wide b, Wide c) { return {_mm512_fnmadd_pd(a.v, b.v, c.v)}; }
MBOK_INLINE Wide abs(Wide a) { return {_mm512_andnot_pd(_mm512_set1_pd(-0.0), a.v)}; }
MBOK_INLINE Wide signed_by(Wide a, uint64_t bits) {
  const __mmask8 negative = static_cast<__mmask8>(~bits & 0xff);
  return {_mm512_mask_xor_pd(a.v, negative, a.v, _mm512_set1_pd(-0.0))};
}
MBOK_INLINE double reduce_add(Wide a) {
  const __m256d h = _mm256_add_pd(_mm512_castpd512_pd256(a.v), _mm512_extractf64x4_pd(a.v, 1));
  const __m128d q = _mm_add_pd(_mm256_castpd256_pd128(h), _mm256_extractf128_pd(h, 1));
  return _mm_cvtsd_f64(_mm_add_sd(q, _mm_unpackhi_pd(q, q)));
}

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif

#if defined(MBOK_NEON)
namespace mbok::neon {

constexpr int64_t kWideLanes = 4;

struct Wide {
  float64x2_t low, high;
};

MBOK_INLINE Wide load_wide(const double* p) { return {vld1q_f64(p), vld1q_f64(p + 2)}; }
MBOK_INLINE void store_wide(double* p, Wide a) {
  vst1q_f64(p, a.low);
  vst1q_f64(p + 2, a.high);
}
// Reads n doubles, n in [0, 4], and no other memory; the other lanes are 0.
MBOK_INLINE Wide load_wide_n(const double* p, int64_t n) {
  if (n == kWideLanes) return load_wide(p);
  Wide a = {vdupq_n_f64(0), vdupq_n_f64(0)};
  if (n > 0) a.low = vld1q_lane_f64(p, a.low, 0);
  if (n > 1) a.low = vld1q_lane_f64(p + 1, a.low, 1);
  if (n > 2) a.high = vld1q_lane_f64(p + 2, a.high, 0);
  return a;
}
MBOK_INLINE void store_wide_n(double* p, Wide a, int64_t n) {
  if (n == kWideLanes) return store_wide(p, a);
  if (n > 0) vst1q_lane_f64(p, a.low, 0);
  if (n > 1) vst1q_lane_f64(p + 1, a.low, 1);
  if (n > 2) vst1q_lane_f64(p + 2, a.high, 0);
}
MBOK_INLINE Wide widen(float32x4_t a) { return {vcvt_f64_f32(vget_low_f32(a)), vcvt_high_f64_f32(a)}; }
MBOK_INLINE Wide widen(const float* p) { return widen(vld1q_f32(p)); }
MBOK_INLINE Wide widen_n(const float* p, int64_t n) { return widen(load_four(p, n)); }
MBOK_INLINE Wide broadcast_wide(double x) { return {vdupq_n_f64(x), vdupq_n_f64(x)}; }
MBOK_INLINE Wide operator+(Wide a, Wide b) { return {vaddq_f64(a.low, b.low), vaddq_f64(a.high, b.high)}; }
MBOK_INLINE Wide operator-(Wide a, Wide b) { return {vsubq_f64(a.low, b.low), vsubq_f64(a.high, b.high)}; }
MBOK_INLINE Wide operator*(Wide a, Wide b) { return {vmulq_f64(a.low, b.low), vmulq_f64(a.high, b.high)}; }
MBOK_INLINE Wide fma(Wide a, Wide b, Wide c) {
  return {vfmaq_f64(c.low, a.low, b.low), vfmaq_f64(c.high, a.high, b.high)};
}
MBOK_INLINE Wide fnma(Wide a, Wide b, Wide c) {
  return {vfmsq_f64(c.low, a.low, b.low), vfmsq_f64(c.high, a.high, b.high)};
}
MBOK_INLINE Wide abs(Wide a) { return {vabsq_f64(a.low), vabsq_f64(a.high)}; }
// Returns a where the bit is 1, −a where it is 0; ignores bits beyond the lanes.
MBOK_INLINE Wide signed_by(Wide a, uint64_t bits) {
  const uint64x2_t own = vdupq_n_u64(bits);
  return {vbslq_f64(vtstq_u64(own, uint64x2_t{1, 2}), a.low, vnegq_f64(a.low)),
          vbslq_f64(vtstq_u64(own, uint64x2_t{4, 8}), a.high, vnegq_f64(a.high))};
}
// Adds halves until one lane is left.
MBOK_INLINE double reduce_add(Wide a) { return vpaddd_f64(vaddq_f64(a.low, a.high)); }

}  // namespace mbok::neon
#endif
