#include "kernels/dense_decode/candidates.h"
#include "kernels/simd/narrow_neon.h"

#if defined(MBOK_NEON)
namespace mbok::neon {
namespace {

constexpr int kRows = 2;
#include "kernels/dense_decode/body.h"

}  // namespace

void dense_decode_f32(const DenseDecode& p) { decode<F32>(p); }
void dense_decode_f16(const DenseDecode& p) { decode<F16>(p); }
void dense_decode_bf16(const DenseDecode& p) { decode<Bf16>(p); }
void dense_decode_i8(const DenseDecode& p) { decode<I8>(p); }

}  // namespace mbok::neon
#endif
