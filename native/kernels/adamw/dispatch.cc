#include "kernels/adamw/adamw.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<AdamwFunction> adamw_table("adamw", {
    MBOK_VECTOR_CANDIDATES(adamw)
    {"scalar", kNone, scalar::adamw},
});

}  // namespace mbok
