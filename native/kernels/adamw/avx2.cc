#include "kernels/adamw/adamw.h"
#include "kernels/simd/avx2.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
#include "kernels/adamw/body.h"
}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
