#include "kernels/boolean_decode/candidates.h"
#include "kernels/simd/avx512.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {
namespace {

constexpr int kSums = 16;

struct Signs {
  __mmask16 set;
};

MBOK_INLINE Signs load_signs(const uint64_t* word, int v) {
  __mmask16 set;  // loads per vector, because shifts of mask registers are slower
  __builtin_memcpy(&set, reinterpret_cast<const char*>(word) + 2 * v, sizeof set);
  return {set};
}

MBOK_INLINE Vec flip(Vec x, Signs signs) { return {_mm512_mask_xor_ps(x.v, signs.set, x.v, _mm512_set1_ps(-0.0f))}; }

#include "kernels/boolean_decode/body.h"

}  // namespace

void boolean_decode(const BooleanDecode& p) { decode(p); }

void decode_scale(const float* x, const float* s_in, int64_t n, float* scaled) { scale_inputs(x, s_in, n, scaled); }

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
