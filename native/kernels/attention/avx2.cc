#include "kernels/simd/narrow_avx2.h"

#include "kernels/attention/attention.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {

#include "kernels/attention/body.h"

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
