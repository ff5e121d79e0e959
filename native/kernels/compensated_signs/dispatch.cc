#include "kernels/compensated_signs/compensated_signs.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<CompensateFunction> compensate_table("compensate", {
    MBOK_VECTOR_CANDIDATES(compensate)
    {"scalar", kNone, scalar::compensate},
});

}  // namespace mbok
