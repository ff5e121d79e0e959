#include "kernels/activation/activation.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<ActivationFunction> activation_table("activation", {
    MBOK_VECTOR_CANDIDATES(activation)
    {"scalar", kNone, scalar::activation},
});

const KernelTable<ActivationGradientFunction> activation_gradient_table("activation_gradient", {
    MBOK_VECTOR_CANDIDATES(activation_gradient)
    {"scalar", kNone, scalar::activation_gradient},
});

}  // namespace mbok
