#include "kernels/signal_update/signal_update.h"
#include "kernels/simd/mask_bits.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
#include "kernels/signal_update/body.h"
}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
