#include "kernels/half/half.h"
#include "kernels/simd/narrow_avx2.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
namespace {

MBOK_INLINE void store_f16(uint16_t* to, Vec x) {
  // the clamped operand comes second, so that NaN survives
  x = max(broadcast(-65504.0f), min(broadcast(65504.0f), x));
  const __m128i halves = _mm256_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), halves);
}

MBOK_INLINE void store_bf16(uint16_t* to, Vec x) {
  const __m256i bits = _mm256_castps_si256(x.v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q));
  rounded = _mm256_blendv_epi8(rounded, _mm256_or_si256(bits, _mm256_set1_epi32(0x400000)), nan);
  const __m256i high = _mm256_srli_epi32(rounded, 16);
  const __m128i halves = _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), halves);
}

#include "kernels/half/narrow_body.h"
#include "kernels/half/widen_body.h"

}  // namespace

void f16_widen(const uint16_t* from, float* to, int64_t count) { widen<F16>(from, to, count); }
void bf16_widen(const uint16_t* from, float* to, int64_t count) { widen<Bf16>(from, to, count); }
void f16_narrow(const float* from, uint16_t* to, int64_t count) { narrow<store_f16>(from, to, count); }
void bf16_narrow(const float* from, uint16_t* to, int64_t count) { narrow<store_bf16>(from, to, count); }

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
