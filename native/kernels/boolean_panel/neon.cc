#include "kernels/boolean_panel/candidates.h"
#include "kernels/dense_product/dense_product.h"
#include "kernels/simd/mask_bits.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

#include "kernels/boolean_panel/body.h"

}  // namespace mbok::neon
#endif
