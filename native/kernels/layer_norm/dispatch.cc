#include "kernels/layer_norm/layer_norm.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<LayerNormFunction> layer_norm_table("layer_norm", {
    MBOK_VECTOR_CANDIDATES(layer_norm)
    {"scalar", kNone, scalar::layer_norm},
});

const KernelTable<LayerNormGradientFunction> layer_norm_gradient_table("layer_norm_gradient", {
    MBOK_VECTOR_CANDIDATES(layer_norm_gradient)
    {"scalar", kNone, scalar::layer_norm_gradient},
});

}  // namespace mbok
