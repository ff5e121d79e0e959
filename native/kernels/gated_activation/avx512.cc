#include "kernels/simd/avx512.h"

#include "kernels/gated_activation/gated_activation.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {

#include "kernels/gated_activation/body.h"

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
