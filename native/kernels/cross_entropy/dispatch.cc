#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<CrossEntropyFunction> cross_entropy_table("cross_entropy", {
    MBOK_VECTOR_CANDIDATES(cross_entropy)
    {"scalar", kNone, scalar::cross_entropy},
});

const KernelTable<CrossEntropyGradientFunction> cross_entropy_gradient_table("cross_entropy_gradient", {
    MBOK_VECTOR_CANDIDATES(cross_entropy_gradient)
    {"scalar", kNone, scalar::cross_entropy_gradient},
});

}  // namespace mbok
