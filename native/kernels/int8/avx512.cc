#include "kernels/int8/int8.h"
#include "kernels/simd/narrow_avx512.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {

#include "kernels/int8/body.h"

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
