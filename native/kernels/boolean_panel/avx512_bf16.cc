#include "kernels/boolean_panel/candidates.h"
#include "kernels/dense_product/dense_product.h"
#include "kernels/simd/mask_bits.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512_BF16
namespace mbok::avx512 {
namespace {

#include "kernels/boolean_panel/body.h"

}  // namespace

void boolean_panel_bf16(const BooleanPanel& s, void* panel) {
  // of two rounded vectors side by side, the numbers 0, 16, 1, 17, …
  alignas(64) static const uint16_t kInterleave[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i interleave = _mm512_load_si512(kInterleave);
  float* out = static_cast<float*>(panel);
  for (int64_t d = 0; d < s.depth; d += 2, out += kPanelCols) {
    const Weights first = rebuild(s, d);
    Weights second = {{zero(), zero(), zero(), zero()}};
    if (d + 1 < s.depth) second = rebuild(s, d + 1);
    MBOK_UNROLL
    for (int v = 0; v < 4; ++v) {
      const __m512i rounded = (__m512i)_mm512_cvtne2ps_pbh(second.v[v].v, first.v[v].v);
      store(out + 16 * v, {_mm512_castsi512_ps(_mm512_permutexvar_epi16(interleave, rounded))});
    }
  }
}

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
