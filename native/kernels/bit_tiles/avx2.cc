#include "kernels/bit_tiles/candidates.h"
#include "kernels/simd/intrinsics.h"
#include "kernels/simd/target.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {

void bit_planes(const uint8_t* block, uint64_t* planes) {
  for (int b = 0; b < 8; ++b) {
    const __m256i* bytes = reinterpret_cast<const __m256i*>(block + b * kTileRows);
    __m256i low = _mm256_loadu_si256(bytes), high = _mm256_loadu_si256(bytes + 1);
    for (int j = 8 * b + 7; j >= 8 * b; --j) {  // the highest bit of every byte, then the next lower one
      planes[j] = static_cast<uint32_t>(_mm256_movemask_epi8(low)) |
                  static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(high))) << 32;
      low = _mm256_add_epi8(low, low);
      high = _mm256_add_epi8(high, high);
    }
  }
}

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
