#include "kernels/half/half.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<WidenFunction> f16_widen_table("f16_widen", {
    MBOK_VECTOR_CANDIDATES(f16_widen)
    {"scalar", kNone, scalar::f16_widen},
});

const KernelTable<WidenFunction> bf16_widen_table("bf16_widen", {
    MBOK_VECTOR_CANDIDATES(bf16_widen)
    {"scalar", kNone, scalar::bf16_widen},
});

const KernelTable<NarrowFunction> f16_narrow_table("f16_narrow", {
    MBOK_VECTOR_CANDIDATES(f16_narrow)
    {"scalar", kNone, scalar::f16_narrow},
});

const KernelTable<NarrowFunction> bf16_narrow_table("bf16_narrow", {
    MBOK_VECTOR_CANDIDATES(bf16_narrow)
    {"scalar", kNone, scalar::bf16_narrow},
});

}  // namespace mbok
