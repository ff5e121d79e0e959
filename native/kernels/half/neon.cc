#include "kernels/half/half.h"
#include "kernels/simd/narrow_neon.h"

#if defined(MBOK_NEON)
namespace mbok::neon {
namespace {

MBOK_INLINE void store_f16(uint16_t* to, Vec x) {
  // the clamped operand comes second, so that NaN survives
  x = max(broadcast(-65504.0f), min(broadcast(65504.0f), x));
  vst1q_u16(to, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(x.low), x.high)));
}

MBOK_INLINE uint32x4_t round_bf16(float32x4_t x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x), odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
  return vbslq_u32(vceqq_f32(x, x), rounded, vorrq_u32(bits, vdupq_n_u32(0x400000)));
}

MBOK_INLINE void store_bf16(uint16_t* to, Vec x) {
  vst1q_u16(to, vshrn_high_n_u32(vshrn_n_u32(round_bf16(x.low), 16), round_bf16(x.high), 16));
}

#include "kernels/half/narrow_body.h"
#include "kernels/half/widen_body.h"

}  // namespace

void f16_widen(const uint16_t* from, float* to, int64_t count) { widen<F16>(from, to, count); }
void bf16_widen(const uint16_t* from, float* to, int64_t count) { widen<Bf16>(from, to, count); }
void f16_narrow(const float* from, uint16_t* to, int64_t count) { narrow<store_f16>(from, to, count); }
void bf16_narrow(const float* from, uint16_t* to, int64_t count) { narrow<store_bf16>(from, to, count); }

}  // namespace mbok::neon
#endif
