#include "kernels/dense_product/candidates.h"
#include "kernels/simd/avx512.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512_BF16
namespace mbok::avx512 {
namespace {

constexpr int kTileRows = 6, kTileVectors = 4;
#include "kernels/dense_product/plain_sums.h"
MBOK_INLINE Vec multiply_add(Vec a, Vec b, Vec sum) {
  return {_mm512_dpbf16_ps(sum.v, (__m512bh)_mm512_castps_si512(a.v), (__m512bh)_mm512_castps_si512(b.v))};
}
#include "kernels/dense_product/body.h"

}  // namespace

void dense_product_bf16(const ProductBlock& block) { multiply_block(block); }

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
