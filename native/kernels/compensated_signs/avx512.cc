#include "kernels/refit/codes.h"

#include "kernels/compensated_signs/compensated_signs.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {

#include "kernels/compensated_signs/body.h"

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
