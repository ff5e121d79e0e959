#include "kernels/simd/neon.h"

#include "kernels/layer_norm/layer_norm.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

#include "kernels/layer_norm/body.h"

}  // namespace mbok::neon
#endif
