#include "kernels/boolean_panel/candidates.h"
#include "kernels/dense_product/dense_product.h"
#include "kernels/simd/mask_bits.h"

#if defined(MBOK_NEON)
namespace mbok::neon {
namespace {

#include "kernels/boolean_panel/body.h"

constexpr int kNear = 8;

MBOK_INLINE uint32x4_t pack_bytes(float32x4_t a, float32x4_t b, float32x4_t c, float32x4_t d) {
  const uint32x4_t low = vsliq_n_u32(vcvtnq_u32_f32(a), vcvtnq_u32_f32(b), 8);
  return vsliq_n_u32(low, vsliq_n_u32(vcvtnq_u32_f32(c), vcvtnq_u32_f32(d), 8), 16);
}
MBOK_INLINE Vec pack_bytes(const Vec (&n)[4]) {
  return {vreinterpretq_f32_u32(pack_bytes(n[0].low, n[1].low, n[2].low, n[3].low)),
          vreinterpretq_f32_u32(pack_bytes(n[0].high, n[1].high, n[2].high, n[3].high))};
}

#include "kernels/boolean_panel/int8_body.h"

}  // namespace

void boolean_panel_f32(const BooleanPanel& s, void* panel) { rebuild_panel(s, static_cast<float*>(panel)); }

void boolean_panel_i8(const BooleanPanel& s, void* panel) { rebuild_int8(s, static_cast<float*>(panel)); }

}  // namespace mbok::neon
#endif
