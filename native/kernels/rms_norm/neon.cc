#include "kernels/simd/neon.h"

#include "kernels/rms_norm/rms_norm.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

#include "kernels/rms_norm/body.h"

}  // namespace mbok::neon
#endif
