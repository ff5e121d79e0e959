#include "kernels/boolean_decode/candidates.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<BooleanDecodeFunction> boolean_decode_table("boolean_decode", {
    MBOK_VECTOR_CANDIDATES(boolean_decode)
    {"scalar", kNone, scalar::boolean_decode},
});

const KernelTable<DecodeScaleFunction> decode_scale_table("decode_scale", {
    MBOK_VECTOR_CANDIDATES(decode_scale)
    {"scalar", kNone, scalar::decode_scale},
});

}  // namespace mbok
