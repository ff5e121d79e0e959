#include "kernels/simd/avx512.h"

#include "kernels/hidden_loss/hidden_loss.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {

#include "kernels/hidden_loss/body.h"

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
