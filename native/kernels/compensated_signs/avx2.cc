#include "kernels/refit/codes.h"

#include "kernels/compensated_signs/compensated_signs.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {

#include "kernels/compensated_signs/body.h"

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
