#include "kernels/simd/avx512.h"

#include "kernels/softcap/softcap.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {

#include "kernels/softcap/body.h"

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
