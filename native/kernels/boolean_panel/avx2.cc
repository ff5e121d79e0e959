#include "kernels/boolean_panel/candidates.h"
#include "kernels/dense_product/dense_product.h"
#include "kernels/simd/mask_bits.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
namespace {

#include "kernels/boolean_panel/body.h"

constexpr int kNear = 8;

MBOK_INLINE Vec pack_bytes(const Vec (&numbers)[4]) {
  __m256i four = _mm256_setzero_si256();
  MBOK_UNROLL
  for (int i = 3; i >= 0; --i) four = _mm256_or_si256(_mm256_slli_epi32(four, 8), _mm256_cvtps_epi32(numbers[i].v));
  return {_mm256_castsi256_ps(four)};
}

#include "kernels/boolean_panel/int8_body.h"

}  // namespace

void boolean_panel_f32(const BooleanPanel& s, void* panel) { rebuild_panel(s, static_cast<float*>(panel)); }

void boolean_panel_i8(const BooleanPanel& s, void* panel) { rebuild_int8(s, static_cast<float*>(panel)); }

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
