#include "kernels/dense_product/candidates.h"
#include "kernels/simd/avx2.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2_VNNI
namespace mbok::avx2 {
namespace {

constexpr int kTileRows = 6, kTileVectors = 2;
#include "kernels/dense_product/int8_sums.h"

using Step = __m256i;  // four bytes per lane
using Sum = __m256i;   // i32
MBOK_INLINE Step load_step(const float* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
MBOK_INLINE Step broadcast_step(const float* p) {
  int32_t four;
  __builtin_memcpy(&four, p, sizeof four);
  return _mm256_set1_epi32(four);
}
// In assembly, because GCC 12 copies every sum twice around the intrinsic.
MBOK_INLINE Sum multiply_add(Step a, Step b, Sum sum) {
  __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(b), "x"(a));
  return sum;
}
MBOK_INLINE Vec to_floats(Sum sum) { return {_mm256_cvtepi32_ps(sum)}; }
#include "kernels/dense_product/vnni_sums.h"
#include "kernels/dense_product/body.h"

}  // namespace

void dense_product_i8(const ProductBlock& block) { multiply_block(block); }

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
