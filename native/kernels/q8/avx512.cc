#include "kernels/q8/q8.h"
#include "kernels/simd/narrow_avx512.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {
namespace {

#include "kernels/q8/body.h"

}  // namespace

#include "kernels/q8/widen_body.h"

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
