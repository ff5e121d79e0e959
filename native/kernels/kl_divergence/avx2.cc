#include "kernels/simd/avx2.h"

#include "kernels/kl_divergence/kl_divergence.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {

#include "kernels/kl_divergence/body.h"

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
