#include "kernels/boolean_decode/candidates.h"
#include "kernels/simd/avx2.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
namespace {

constexpr int kSums = 8;

struct Signs {
  __m256 set;  // the sign bit in lanes whose weight bit is 1
};

MBOK_INLINE Signs load_signs(const uint64_t* word, int v) {
  const __m256i to_sign = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
  const __m256i lanes = _mm256_sllv_epi32(_mm256_set1_epi32(static_cast<int>(*word >> 8 * v)), to_sign);
  return {_mm256_and_ps(_mm256_castsi256_ps(lanes), _mm256_set1_ps(-0.0f))};
}

MBOK_INLINE Vec flip(Vec x, Signs signs) { return {_mm256_xor_ps(x.v, signs.set)}; }

#include "kernels/boolean_decode/body.h"

}  // namespace

void boolean_decode(const BooleanDecode& p) { decode(p); }

void decode_scale(const float* x, const float* s_in, int64_t n, float* scaled) { scale_inputs(x, s_in, n, scaled); }

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
