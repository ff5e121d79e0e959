#include "kernels/simd/narrow_avx512.h"

#include "kernels/attention/attention.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {

#include "kernels/attention/body.h"

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
