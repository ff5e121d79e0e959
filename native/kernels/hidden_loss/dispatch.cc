#include "kernels/hidden_loss/hidden_loss.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<HiddenDistanceFunction> hidden_distance_table("hidden_distance", {
    MBOK_VECTOR_CANDIDATES(hidden_distance)
    {"scalar", kNone, scalar::hidden_distance},
});

const KernelTable<HiddenLossGradientFunction> hidden_loss_gradient_table("hidden_loss_gradient", {
    MBOK_VECTOR_CANDIDATES(hidden_loss_gradient)
    {"scalar", kNone, scalar::hidden_loss_gradient},
});

}  // namespace mbok
