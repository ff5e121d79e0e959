#include "kernels/simd/avx512.h"

#include "kernels/activation/activation.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {

#include "kernels/activation/body.h"

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
