#include "kernels/simd/double.h"

#include "kernels/tile_product/tile_product.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {

#include "kernels/tile_product/body.h"

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
