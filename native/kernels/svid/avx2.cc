#include "kernels/simd/double.h"
#include "kernels/simd/mask_bits.h"

#include "kernels/svid/svid.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {

#include "kernels/svid/body.h"

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
