#include "kernels/softcap/softcap.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<SoftcapFunction> softcap_table("softcap", {
    MBOK_VECTOR_CANDIDATES(softcap)
    {"scalar", kNone, scalar::softcap},
});

const KernelTable<SoftcapGradientFunction> softcap_gradient_table("softcap_gradient", {
    MBOK_VECTOR_CANDIDATES(softcap_gradient)
    {"scalar", kNone, scalar::softcap_gradient},
});

}  // namespace mbok
