#include "kernels/signal_update/signal_update.h"
#include "kernels/simd/mask_bits.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {
#include "kernels/signal_update/body.h"
}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
