#include "kernels/simd/neon.h"

#include "kernels/kl_divergence/kl_divergence.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

#include "kernels/kl_divergence/body.h"

}  // namespace mbok::neon
#endif
