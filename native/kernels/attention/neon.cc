#include "kernels/simd/narrow_neon.h"

#include "kernels/attention/attention.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

#include "kernels/attention/body.h"

}  // namespace mbok::neon
#endif
