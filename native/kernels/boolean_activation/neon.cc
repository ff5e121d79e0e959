#include "kernels/boolean_activation/boolean_activation.h"
#include "kernels/simd/mask_bits.h"

#if defined(MBOK_NEON)
namespace mbok::neon {
#include "kernels/boolean_activation/body.h"
}  // namespace mbok::neon
#endif
