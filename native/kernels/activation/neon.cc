#include "kernels/simd/neon.h"

#include "kernels/activation/activation.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

#include "kernels/activation/body.h"

}  // namespace mbok::neon
#endif
