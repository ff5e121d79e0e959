#include "kernels/refit/codes.h"
#include "kernels/simd/double.h"

#include "kernels/refit/refit.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {

#include "kernels/refit/body.h"

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
