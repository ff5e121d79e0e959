#include "kernels/simd/double.h"

#include "kernels/dot/dot.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

#include "kernels/dot/body.h"

}  // namespace mbok::neon
#endif
