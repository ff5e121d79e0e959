#include "kernels/simd/neon.h"

#include "kernels/cross_entropy/cross_entropy.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

#include "kernels/cross_entropy/body.h"

}  // namespace mbok::neon
#endif
