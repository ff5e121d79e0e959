#include "kernels/int8/int8.h"
#include "kernels/simd/narrow_neon.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

#include "kernels/int8/body.h"

}  // namespace mbok::neon
#endif
