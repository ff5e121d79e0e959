#include "kernels/simd/double.h"
#include "kernels/simd/mask_bits.h"

#include "kernels/svid/svid.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

#include "kernels/svid/body.h"

}  // namespace mbok::neon
#endif
