#include "kernels/boolean_panel/candidates.h"
#include "kernels/dense_product/dense_product.h"
#include "kernels/simd/mask_bits.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512_BF16
namespace mbok::avx512 {
namespace {

#include "kernels/boolean_panel/body.h"
#include "kernels/boolean_panel/pairs.h"

}  // namespace

void boolean_panel_bf16(const BooleanPanel& s, void* panel) {
  float* out = static_cast<float*>(panel);
  for (int64_t d = 0; d < s.depth; d += 2, out += kPanelCols) {
    const Weights first = rebuild(s, d);
    Weights second = {{zero(), zero(), zero(), zero()}};
    if (d + 1 < s.depth) second = rebuild(s, d + 1);
    MBOK_UNROLL
    for (int v = 0; v < 4; ++v) store(out + 16 * v, pairs(first.v[v], second.v[v]));
  }
}

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
