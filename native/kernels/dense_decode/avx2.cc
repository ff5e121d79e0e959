#include "kernels/dense_decode/candidates.h"
#include "kernels/q8/q8.h"
#include "kernels/simd/narrow_avx2.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
namespace {

constexpr int kRows = 2;
#include "kernels/q8/body.h"
#include "kernels/dense_decode/body.h"

}  // namespace

void dense_decode_f32(const DenseDecode& p) { decode<PlainWeights<F32>>(p); }
void dense_decode_f16(const DenseDecode& p) { decode<PlainWeights<F16>>(p); }
void dense_decode_bf16(const DenseDecode& p) { decode<PlainWeights<Bf16>>(p); }
void dense_decode_i8(const DenseDecode& p) { decode<PlainWeights<I8>>(p); }
void dense_decode_q8(const DenseDecode& p) { decode<Q8Output>(p); }

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
