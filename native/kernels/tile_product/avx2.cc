#include "kernels/simd/double.h"

#include "kernels/tile_product/tile_product.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {

#include "kernels/tile_product/body.h"

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
