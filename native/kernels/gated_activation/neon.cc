#include "kernels/simd/neon.h"

#include "kernels/gated_activation/gated_activation.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

#include "kernels/gated_activation/body.h"

}  // namespace mbok::neon
#endif
