#include "kernels/dense_product/candidates.h"
#include "kernels/simd/avx512.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512_VNNI
namespace mbok::avx512 {
namespace {

constexpr int kTileRows = 6, kTileVectors = 4;
#include "kernels/dense_product/int8_sums.h"

using Step = __m512i;  // four bytes per lane
using Sum = __m512i;   // i32
MBOK_INLINE Step load_step(const float* p) { return _mm512_loadu_si512(p); }
MBOK_INLINE Step broadcast_step(const float* p) {
  int32_t four;
  __builtin_memcpy(&four, p, sizeof four);
  return _mm512_set1_epi32(four);
}
// In assembly, because GCC 12 copies every sum twice around the intrinsic.
MBOK_INLINE Sum multiply_add(Step a, Step b, Sum sum) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(b), "v"(a));
  return sum;
}
MBOK_INLINE Vec to_floats(Sum sum) { return {_mm512_cvtepi32_ps(sum)}; }
#include "kernels/dense_product/vnni_sums.h"
#include "kernels/dense_product/body.h"

}  // namespace

void dense_product_i8(const ProductBlock& block) { multiply_block(block); }

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
