#include "kernels/adamw/adamw.h"
#include "kernels/simd/neon.h"

#if defined(MBOK_NEON)
namespace mbok::neon {
#include "kernels/adamw/body.h"
}  // namespace mbok::neon
#endif
