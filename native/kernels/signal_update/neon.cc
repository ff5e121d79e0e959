#include "kernels/signal_update/signal_update.h"
#include "kernels/simd/mask_bits.h"

#if defined(MBOK_NEON)
namespace mbok::neon {
#include "kernels/signal_update/body.h"
}  // namespace mbok::neon
#endif
