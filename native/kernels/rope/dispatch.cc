#include "kernels/rope/rope.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<RopeFunction> rope_table("rope", {
    MBOK_VECTOR_CANDIDATES(rope)
    {"scalar", kNone, scalar::rope},
});

}  // namespace mbok
