#include "kernels/boolean_decode/candidates.h"
#include "kernels/simd/mask_bits.h"

#if defined(MBOK_NEON)
namespace mbok::neon {
namespace {

constexpr int kSums = 8;

struct Signs {
  Mask set;
};

MBOK_INLINE Signs load_signs(const uint64_t* word, int v) { return {mask_of(*word >> 8 * v)}; }

// The compiler computes −x once for all outputs.
MBOK_INLINE Vec flip(Vec x, Signs signs) { return select(signs.set, -x, x); }

#include "kernels/boolean_decode/body.h"

}  // namespace

void boolean_decode(const BooleanDecode& p) { decode(p); }

void decode_scale(const float* x, const float* s_in, int64_t n, float* scaled) { scale_inputs(x, s_in, n, scaled); }

}  // namespace mbok::neon
#endif
