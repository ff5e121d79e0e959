#include "kernels/simd/double.h"
#include "kernels/simd/mask_bits.h"

#include "kernels/refit/refit.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {
namespace {

MBOK_INLINE Vec broadcast_code(int code) { return {_mm512_castsi512_ps(_mm512_set1_epi32(code))}; }
MBOK_INLINE uint64_t lanes_with_bit(Vec codes, int k) {
  return _mm512_test_epi32_mask(_mm512_castps_si512(codes.v), _mm512_set1_epi32(1 << k));
}

}  // namespace

#include "kernels/refit/body.h"

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
