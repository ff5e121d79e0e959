#include "kernels/dense_decode/candidates.h"
#include "kernels/simd/avx512.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {
namespace {

constexpr int kSums = 16;
#include "kernels/dense_decode/body.h"

}  // namespace

void dense_decode(const DenseDecode& p) { decode(p); }

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
