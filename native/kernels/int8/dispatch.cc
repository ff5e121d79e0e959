#include "kernels/int8/int8.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<Int8WidenFunction> int8_widen_table("int8_widen", {
    MBOK_VECTOR_CANDIDATES(int8_widen)
    {"scalar", kNone, scalar::int8_widen},
});

const KernelTable<Int8QuantiseFunction> int8_quantise_table("int8_quantise", {
    {"scalar", kNone, scalar::int8_quantise},
});

}  // namespace mbok
