#include "kernels/simd/double.h"

#include "kernels/dot/dot.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {

#include "kernels/dot/body.h"

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
