#include "kernels/gated_activation/gated_activation.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<GatedActivationFunction> gated_activation_table("gated_activation", {
    MBOK_VECTOR_CANDIDATES(gated_activation)
    {"scalar", kNone, scalar::gated_activation},
});

const KernelTable<GatedActivationGradientFunction> gated_activation_gradient_table("gated_activation_gradient", {
    MBOK_VECTOR_CANDIDATES(gated_activation_gradient)
    {"scalar", kNone, scalar::gated_activation_gradient},
});

}  // namespace mbok
