#include "kernels/dot/dot.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<DotFunction> dot_table("dot", {
    MBOK_VECTOR_CANDIDATES(dot)
    {"scalar", kNone, scalar::dot},
});

}  // namespace mbok
