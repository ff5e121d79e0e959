// Sixteen elements at a time; tails by mask.
#include "kernels/half/half.h"
#include "kernels/simd/narrow_avx512.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {
namespace {

#include "kernels/half/widen_body.h"

MBOK_INLINE void store_halves(uint16_t* to, __m256i halves, int64_t n) {
  _mm256_mask_storeu_epi16(to, n >= 16 ? static_cast<__mmask16>(0xffff) : first_lanes(n).m, halves);
}

MBOK_INLINE __m512 load_floats(const float* from, int64_t n) {
  return _mm512_maskz_loadu_ps(n >= 16 ? static_cast<__mmask16>(0xffff) : first_lanes(n).m, from);
}

}  // namespace

void f16_widen(const uint16_t* from, float* to, int64_t count) { widen<F16>(from, to, count); }
void bf16_widen(const uint16_t* from, float* to, int64_t count) { widen<Bf16>(from, to, count); }

void f16_narrow(const float* from, uint16_t* to, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) {
    __m512 x = load_floats(from + i, count - i);
    // the clamped operand comes second, so that NaN survives
    x = _mm512_max_ps(_mm512_set1_ps(-65504.0f), _mm512_min_ps(_mm512_set1_ps(65504.0f), x));
    store_halves(to + i, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), count - i);
  }
}

// In integers, because vcvtneps2bf16 flushes denormals and not every AVX-512 machine has it.
void bf16_narrow(const float* from, uint16_t* to, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) {
    const __m512 x = load_floats(from + i, count - i);
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i kept = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
    store_halves(to + i, _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16)), count - i);
  }
}

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
