#include "kernels/simd/neon.h"

#include "kernels/softcap/softcap.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

#include "kernels/softcap/body.h"

}  // namespace mbok::neon
#endif
