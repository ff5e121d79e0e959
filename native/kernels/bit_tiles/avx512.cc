#include "kernels/bit_tiles/candidates.h"
#include "kernels/simd/intrinsics.h"
#include "kernels/simd/target.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {

void bit_planes(const uint8_t* block, uint64_t* planes) {
  for (int b = 0; b < 8; ++b) {
    const __m512i bytes = _mm512_loadu_si512(block + b * kTileRows);
    MBOK_UNROLL
    for (int j = 0; j < 8; ++j)
      planes[8 * b + j] = _mm512_test_epi8_mask(bytes, _mm512_set1_epi8(static_cast<char>(1 << j)));
  }
}

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
