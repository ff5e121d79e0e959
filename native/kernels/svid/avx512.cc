#include "kernels/simd/double.h"
#include "kernels/simd/mask_bits.h"

#include "kernels/svid/svid.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {

#include "kernels/svid/body.h"

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
