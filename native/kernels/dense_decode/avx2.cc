#include "kernels/dense_decode/candidates.h"
#include "kernels/simd/avx2.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
namespace {

constexpr int kSums = 8;
#include "kernels/dense_decode/body.h"

}  // namespace

void dense_decode(const DenseDecode& p) { decode(p); }

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
