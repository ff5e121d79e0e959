#include "kernels/q8/q8.h"
#include "kernels/simd/narrow_neon.h"

#if defined(MBOK_NEON)
namespace mbok::neon {
namespace {

#include "kernels/q8/body.h"

}  // namespace

#include "kernels/q8/widen_body.h"

}  // namespace mbok::neon
#endif
