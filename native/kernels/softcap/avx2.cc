#include "kernels/simd/avx2.h"

#include "kernels/softcap/softcap.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {

#include "kernels/softcap/body.h"

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
