#include "kernels/simd/neon.h"

#include "kernels/rope/rope.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

#include "kernels/rope/body.h"

}  // namespace mbok::neon
#endif
