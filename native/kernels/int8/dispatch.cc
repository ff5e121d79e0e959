#include "kernels/int8/int8.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<Int8WidenFunction> int8_widen_table("int8_widen", {
    MBOK_VECTOR_CANDIDATES(int8_widen)
    {"scalar", kNone, scalar::int8_widen},
});

const KernelTable<Int8QuantizeFunction> int8_quantize_table("int8_quantize", {
    {"scalar", kNone, scalar::int8_quantize},
});

}  // namespace mbok
