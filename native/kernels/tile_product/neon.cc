#include "kernels/simd/double.h"

#include "kernels/tile_product/tile_product.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

#include "kernels/tile_product/body.h"

}  // namespace mbok::neon
#endif
