#include "kernels/boolean_activation/boolean_activation.h"
#include "kernels/simd/mask_bits.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {
#include "kernels/boolean_activation/body.h"
}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
