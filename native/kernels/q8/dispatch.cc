#include "kernels/q8/q8.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<Q8WidenFunction> q8_widen_table("q8_widen", {
    MBOK_VECTOR_CANDIDATES(q8_widen)
    {"scalar", kNone, scalar::q8_widen},
});

}  // namespace mbok
