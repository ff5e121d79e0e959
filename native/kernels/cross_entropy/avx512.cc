#include "kernels/simd/avx512.h"

#include "kernels/cross_entropy/cross_entropy.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {

#include "kernels/cross_entropy/body.h"

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
