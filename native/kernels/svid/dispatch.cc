#include "kernels/simd/target.h"
#include "kernels/svid/svid.h"

namespace mbok {

const KernelTable<MagnitudeStepFunction> magnitude_step_table("magnitude_step", {
    MBOK_VECTOR_CANDIDATES(magnitude_step)
    {"scalar", kNone, scalar::magnitude_step},
});

const KernelTable<ExtractRowFunction> extract_row_table("extract_row", {
    MBOK_VECTOR_CANDIDATES(extract_row)
    {"scalar", kNone, scalar::extract_row},
});

}  // namespace mbok
