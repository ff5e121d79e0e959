#include "kernels/boolean_panel/candidates.h"
#include "kernels/dense_product/dense_product.h"
#include "kernels/simd/mask_bits.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {

#include "kernels/boolean_panel/body.h"

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
