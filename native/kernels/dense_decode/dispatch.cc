#include "kernels/dense_decode/candidates.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<DenseDecodeFunction> dense_decode_table("dense_decode", {
    MBOK_X86_CANDIDATES(dense_decode)
    {"scalar", kNone, scalar::dense_decode},
});

}  // namespace mbok
