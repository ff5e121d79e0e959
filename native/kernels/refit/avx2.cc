#include "kernels/refit/codes.h"
#include "kernels/simd/double.h"

#include "kernels/refit/refit.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {

#include "kernels/refit/body.h"

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
