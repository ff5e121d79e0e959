#include "kernels/boolean_panel/candidates.h"
#include "kernels/dense_product/dense_product.h"
#include "kernels/simd/mask_bits.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
namespace {

#include "kernels/boolean_panel/body.h"

}  // namespace

void boolean_panel_f32(const BooleanPanel& s, void* panel) { rebuild_panel(s, static_cast<float*>(panel)); }

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
