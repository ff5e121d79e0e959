// vpermb uses six bits of an index. The register holds the same table four times, so the neighboring bits need no mask:
// 22 vector operations instead of the 26 of avx512.cc.
#include "kernels/bit_tiles/bit_tiles.h"
#include "kernels/boolean_lookup/candidates.h"
#include "kernels/simd/avx512.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512_VBMI
namespace mbok::avx512 {
namespace {

#include "kernels/boolean_lookup/avx512_bytes.h"

MBOK_INLINE Bytes low_nibbles(Bytes a) { return a; }
MBOK_INLINE Bytes high_nibbles(Bytes a) { return {_mm512_srli_epi16(a.v, 4)}; }
MBOK_INLINE Bytes shuffle(Bytes table, Bytes index) { return {_mm512_permutexvar_epi8(index.v, table.v)}; }

#include "kernels/boolean_lookup/body.h"

}  // namespace

void boolean_lookup_vbmi(const BooleanLookup& p) { look_up<2, 3072>(p); }

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
