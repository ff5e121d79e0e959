// Eight elements at a time; a tail goes through a register-sized buffer, since AVX2 has no masked 16-bit loads.
#include "kernels/half/half.h"
#include "kernels/simd/narrow_avx2.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
namespace {

template <class Source>
MBOK_INLINE void widen(const uint16_t* from, float* to, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, Source::load(from + i));
  if (i < count) store_n(to + i, Source::load_n(from + i, count - i), count - i);
}

MBOK_INLINE __m128i narrow_f16(__m256 x) {
  // the clamped operand comes second, so that NaN survives
  x = _mm256_max_ps(_mm256_set1_ps(-65504.0f), _mm256_min_ps(_mm256_set1_ps(65504.0f), x));
  return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

MBOK_INLINE __m128i narrow_bf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  rounded = _mm256_blendv_epi8(rounded, _mm256_or_si256(bits, _mm256_set1_epi32(0x400000)), nan);
  const __m256i high = _mm256_srli_epi32(rounded, 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}

#define MBOK_NARROW(name)                                                                      \
  void name##_back(const float* from, uint16_t* to, int64_t count) {                           \
    int64_t i = 0;                                                                             \
    for (; i + 8 <= count; i += 8)                                                             \
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), narrow_##name(_mm256_loadu_ps(from + i))); \
    if (i == count) return;                                                                    \
    uint16_t tail[8];                                                                          \
    _mm_storeu_si128(reinterpret_cast<__m128i*>(tail), narrow_##name(load_n(from + i, count - i).v)); \
    for (int64_t t = 0; t < count - i; ++t) to[i + t] = tail[t];                               \
  }
MBOK_NARROW(f16)
MBOK_NARROW(bf16)
#undef MBOK_NARROW

}  // namespace

void f16_widen(const uint16_t* from, float* to, int64_t count) { widen<F16>(from, to, count); }
void bf16_widen(const uint16_t* from, float* to, int64_t count) { widen<Bf16>(from, to, count); }
void f16_narrow(const float* from, uint16_t* to, int64_t count) { f16_back(from, to, count); }
void bf16_narrow(const float* from, uint16_t* to, int64_t count) { bf16_back(from, to, count); }

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
