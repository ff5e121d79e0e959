#include "kernels/int8/int8.h"
#include "kernels/simd/narrow_avx2.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {

#include "kernels/int8/body.h"

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
