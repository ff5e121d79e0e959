#include "kernels/simd/double.h"

#include "kernels/dot/dot.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {

#include "kernels/dot/body.h"

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
