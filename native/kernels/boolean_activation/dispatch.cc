#include "kernels/boolean_activation/boolean_activation.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<BooleanActivationFunction> boolean_activation_table("boolean_activation", {
    MBOK_VECTOR_CANDIDATES(boolean_activation)
    {"scalar", kNone, scalar::boolean_activation},
});

const KernelTable<BooleanActivationGradientFunction> boolean_activation_gradient_table("boolean_activation_gradient", {
    MBOK_VECTOR_CANDIDATES(boolean_activation_gradient)
    {"scalar", kNone, scalar::boolean_activation_gradient},
});

}  // namespace mbok
