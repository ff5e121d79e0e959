// Vec: eight floats in two NEON registers. Names and contracts are those of avx512.h. NEON has 32 registers of four
// floats, AVX2 16 of eight. With two registers per Vec, bodies whose tiles fit AVX2 fit here, and sums run in the same
// order, so both give the same bits. Every operation is two independent instructions, which hides half of their
// latency.
#pragma once

#include <cstdint>

#include "kernels/simd/target.h"

#if defined(MBOK_NEON)
#include <arm_neon.h>

namespace mbok::neon {

constexpr int64_t kLanes = 8;

struct Vec {
  float32x4_t low, high;
};
struct Mask {
  uint32x4_t low, high;  // all ones or all zeros in every lane
};

// Returns a mask of the first n lanes, n in [0, 8].
MBOK_INLINE Mask first_lanes(int64_t n) {
  const uint32x4_t count = vdupq_n_u32(static_cast<uint32_t>(n));
  return {vcltq_u32(uint32x4_t{0, 1, 2, 3}, count), vcltq_u32(uint32x4_t{4, 5, 6, 7}, count)};
}

MBOK_INLINE Vec load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
// Reads n floats into one register, n in [0, 4], and no other memory; the other lanes are 0.
MBOK_INLINE float32x4_t load_four(const float* p, int64_t n) {
  if (n == 4) return vld1q_f32(p);
  float32x4_t a = vdupq_n_f32(0);
  if (n > 0) a = vld1q_lane_f32(p, a, 0);
  if (n > 1) a = vld1q_lane_f32(p + 1, a, 1);
  if (n > 2) a = vld1q_lane_f32(p + 2, a, 2);
  return a;
}
MBOK_INLINE void store_four(float* p, float32x4_t a, int64_t n) {
  if (n == 4) return vst1q_f32(p, a);
  if (n > 0) vst1q_lane_f32(p, a, 0);
  if (n > 1) vst1q_lane_f32(p + 1, a, 1);
  if (n > 2) vst1q_lane_f32(p + 2, a, 2);
}
// Reads n floats, n in [0, 8], and no other memory; the other lanes are 0.
MBOK_INLINE Vec load_n(const float* p, int64_t n) {
  if (n == kLanes) return load(p);
  if (n < 4) return {load_four(p, n), vdupq_n_f32(0)};
  return {vld1q_f32(p), load_four(p + 4, n - 4)};
}
MBOK_INLINE void store(float* p, Vec a) {
  vst1q_f32(p, a.low);
  vst1q_f32(p + 4, a.high);
}
MBOK_INLINE void store_n(float* p, Vec a, int64_t n) {
  if (n == kLanes) return store(p, a);
  if (n < 4) return store_four(p, a.low, n);
  vst1q_f32(p, a.low);
  store_four(p + 4, a.high, n - 4);
}
MBOK_INLINE Vec broadcast(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
MBOK_INLINE Vec zero() { return broadcast(0); }
// Returns 0, 1, 2, …
MBOK_INLINE Vec lane_index() { return {float32x4_t{0, 1, 2, 3}, float32x4_t{4, 5, 6, 7}}; }

MBOK_INLINE Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
MBOK_INLINE Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)}; }
MBOK_INLINE Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
MBOK_INLINE Vec operator/(Vec a, Vec b) { return {vdivq_f32(a.low, b.low), vdivq_f32(a.high, b.high)}; }
MBOK_INLINE Vec operator-(Vec a) { return {vnegq_f32(a.low), vnegq_f32(a.high)}; }
MBOK_INLINE Vec fma(Vec a, Vec b, Vec c) {  // ab + c
  return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)};
}
MBOK_INLINE Vec fnma(Vec a, Vec b, Vec c) {  // c − ab
  return {vfmsq_f32(c.low, a.low, b.low), vfmsq_f32(c.high, a.high, b.high)};
}

MBOK_INLINE Mask operator<(Vec a, Vec b) { return {vcltq_f32(a.low, b.low), vcltq_f32(a.high, b.high)}; }
MBOK_INLINE Mask operator<=(Vec a, Vec b) { return {vcleq_f32(a.low, b.low), vcleq_f32(a.high, b.high)}; }
MBOK_INLINE Mask operator>(Vec a, Vec b) { return {vcgtq_f32(a.low, b.low), vcgtq_f32(a.high, b.high)}; }
MBOK_INLINE Mask operator>=(Vec a, Vec b) { return {vcgeq_f32(a.low, b.low), vcgeq_f32(a.high, b.high)}; }
MBOK_INLINE Mask operator==(Vec a, Vec b) { return {vceqq_f32(a.low, b.low), vceqq_f32(a.high, b.high)}; }
MBOK_INLINE Mask operator&(Mask a, Mask b) { return {vandq_u32(a.low, b.low), vandq_u32(a.high, b.high)}; }
MBOK_INLINE Mask operator|(Mask a, Mask b) { return {vorrq_u32(a.low, b.low), vorrq_u32(a.high, b.high)}; }
MBOK_INLINE bool any(Mask a) { return vmaxvq_u32(vorrq_u32(a.low, a.high)) != 0; }
MBOK_INLINE bool all(Mask a) { return vminvq_u32(vandq_u32(a.low, a.high)) != 0; }
MBOK_INLINE Vec select(Mask m, Vec yes, Vec no) {
  return {vbslq_f32(m.low, yes.low, no.low), vbslq_f32(m.high, yes.high, no.high)};
}

// Return the second operand if one is NaN, unlike fmin and fmax, which then return NaN.
MBOK_INLINE Vec min(Vec a, Vec b) { return select(a < b, a, b); }
MBOK_INLINE Vec max(Vec a, Vec b) { return select(a > b, a, b); }
MBOK_INLINE Vec abs(Vec a) { return {vabsq_f32(a.low), vabsq_f32(a.high)}; }
MBOK_INLINE Vec sqrt(Vec a) { return {vsqrtq_f32(a.low), vsqrtq_f32(a.high)}; }
// Returns |a| with the sign of b.
MBOK_INLINE Vec copy_sign(Vec a, Vec b) {
  const uint32x4_t sign = vdupq_n_u32(0x80000000u);
  return {vbslq_f32(sign, b.low, a.low), vbslq_f32(sign, b.high, a.high)};
}
MBOK_INLINE Vec round_even(Vec a) { return {vrndnq_f32(a.low), vrndnq_f32(a.high)}; }
// Returns a · 2^n for integral n in [−252, 254]. Overflow and underflow are those of the exact product, apart from a
// possible second rounding of denormal results.
MBOK_INLINE float32x4_t scale_by_power(float32x4_t a, float32x4_t n) {
  // two factors, because 2^n itself may not be a normal number
  const int32x4_t whole = vcvtnq_s32_f32(n), half = vshrq_n_s32(whole, 1), bias = vdupq_n_s32(127);
  const int32x4_t low = vshlq_n_s32(vaddq_s32(half, bias), 23);
  const int32x4_t high = vshlq_n_s32(vaddq_s32(vsubq_s32(whole, half), bias), 23);
  return vmulq_f32(vmulq_f32(a, vreinterpretq_f32_s32(low)), vreinterpretq_f32_s32(high));
}
MBOK_INLINE Vec scale_by_power(Vec a, Vec n) { return {scale_by_power(a.low, n.low), scale_by_power(a.high, n.high)}; }

// Reduce by adding (comparing) halves until one lane is left: a fixed order.
MBOK_INLINE float reduce_add(Vec a) {
  const float32x4_t q = vaddq_f32(a.low, a.high);
  return vpadds_f32(vadd_f32(vget_low_f32(q), vget_high_f32(q)));
}
MBOK_INLINE float reduce_max(Vec a) { return vmaxvq_f32(vmaxq_f32(a.low, a.high)); }

// Transposes 4 × 4 by eight shuffles.
MBOK_INLINE void transpose_four(float32x4_t (&r)[4]) {
  const float64x2_t a = vreinterpretq_f64_f32(vtrn1q_f32(r[0], r[1])),
                    b = vreinterpretq_f64_f32(vtrn2q_f32(r[0], r[1]));
  const float64x2_t c = vreinterpretq_f64_f32(vtrn1q_f32(r[2], r[3])),
                    d = vreinterpretq_f64_f32(vtrn2q_f32(r[2], r[3]));
  r[0] = vreinterpretq_f32_f64(vtrn1q_f64(a, c));
  r[1] = vreinterpretq_f32_f64(vtrn1q_f64(b, d));
  r[2] = vreinterpretq_f32_f64(vtrn2q_f64(a, c));
  r[3] = vreinterpretq_f32_f64(vtrn2q_f64(b, d));
}

#include "kernels/simd/math_body.h"

}  // namespace mbok::neon
#endif
