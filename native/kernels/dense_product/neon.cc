#include "kernels/dense_product/candidates.h"
#include "kernels/simd/neon.h"

#if defined(MBOK_NEON)
namespace mbok::neon {
namespace {

// 20 registers of sums. With a sixth row GCC 12 loads all steps of A at once and runs out of registers.
constexpr int kTileRows = 5, kTileVectors = 2;
#include "kernels/dense_product/plain_sums.h"
MBOK_INLINE Vec multiply_add(Vec a, Vec b, Vec sum) { return fma(a, b, sum); }
#include "kernels/dense_product/body.h"

}  // namespace

void dense_product_f32(const ProductBlock& block) { multiply_block(block); }

}  // namespace mbok::neon
#endif
