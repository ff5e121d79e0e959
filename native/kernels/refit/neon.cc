#include "kernels/refit/codes.h"
#include "kernels/simd/double.h"

#include "kernels/refit/refit.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

#include "kernels/refit/body.h"

}  // namespace mbok::neon
#endif
