#include "kernels/dense_product/candidates.h"
#include "kernels/simd/neon.h"

#if defined(MBOK_NEON)
MBOK_TARGET_DOTPROD
namespace mbok::neon {
namespace {

constexpr int kTileRows = 5, kTileVectors = 2;
#include "kernels/dense_product/int8_sums.h"

struct Step {
  int8x16_t low, high;  // four bytes of each of eight columns
};
struct Sum {
  int32x4_t low, high;
};
// sdot takes signed operands, so 128 is subtracted from B's bytes on load, and the sums need no correction.
MBOK_INLINE Step load_step(const float* p) {
  const uint8x16_t sign = vdupq_n_u8(0x80);
  const uint8_t* const bytes = reinterpret_cast<const uint8_t*>(p);
  return {vreinterpretq_s8_u8(veorq_u8(vld1q_u8(bytes), sign)),
          vreinterpretq_s8_u8(veorq_u8(vld1q_u8(bytes + 16), sign))};
}
MBOK_INLINE int8x8_t broadcast_step(const float* p) { return vreinterpret_s8_f32(float32x2_t{*p, 0}); }
MBOK_INLINE Sum multiply_add(int8x8_t a, Step b, Sum sum) {
  return {vdotq_lane_s32(sum.low, b.low, a, 0), vdotq_lane_s32(sum.high, b.high, a, 0)};
}
MBOK_INLINE Sum first_sum(const float*) { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }
MBOK_INLINE Vec add_sum(const ProductBlock& p, const float* a, int64_t col, Vec start, Sum sum) {
  return add_scaled(p, a, col, start, {vcvtq_f32_s32(sum.low), vcvtq_f32_s32(sum.high)});
}
#include "kernels/dense_product/body.h"

}  // namespace

void dense_product_dotprod(const ProductBlock& block) { multiply_block(block); }

}  // namespace mbok::neon
MBOK_TARGET_END
#endif
