#include "kernels/q8/q8.h"
#include "kernels/simd/narrow_avx2.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
namespace {

#include "kernels/q8/body.h"

}  // namespace

#include "kernels/q8/widen_body.h"

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
