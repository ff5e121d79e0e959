#include "kernels/rms_norm/rms_norm.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<RmsNormFunction> rms_norm_table("rms_norm", {
    MBOK_VECTOR_CANDIDATES(rms_norm)
    {"scalar", kNone, scalar::rms_norm},
});

const KernelTable<RmsNormGradientFunction> rms_norm_gradient_table("rms_norm_gradient", {
    MBOK_VECTOR_CANDIDATES(rms_norm_gradient)
    {"scalar", kNone, scalar::rms_norm_gradient},
});

}  // namespace mbok
