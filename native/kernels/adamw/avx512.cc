#include "kernels/adamw/adamw.h"
#include "kernels/simd/avx512.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {
#include "kernels/adamw/body.h"
}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
