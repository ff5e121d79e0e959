#include "kernels/simd/double.h"
#include "kernels/simd/mask_bits.h"

#include "kernels/refit/refit.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
namespace {

MBOK_INLINE Vec broadcast_code(int code) { return {_mm256_castsi256_ps(_mm256_set1_epi32(code))}; }
MBOK_INLINE uint64_t lanes_with_bit(Vec codes, int k) {
  const __m256i shifted = _mm256_slli_epi32(_mm256_castps_si256(codes.v), 31 - k);
  return static_cast<uint64_t>(_mm256_movemask_ps(_mm256_castsi256_ps(shifted)));
}

}  // namespace

#include "kernels/refit/body.h"

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
