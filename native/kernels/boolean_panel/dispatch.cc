#include "kernels/boolean_panel/candidates.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<BooleanPanelFunction> boolean_panel_f32_table("boolean_panel_f32", {
    MBOK_VECTOR_CANDIDATES(boolean_panel_f32)
    {"scalar", kNone, scalar::boolean_panel_f32},
});

const KernelTable<BooleanPanelFunction> boolean_panel_bf16_table("boolean_panel_bf16", {
#if defined(MBOK_X86)
    {"avx512_bf16", kAvx512 | kAvx512Bf16, avx512::boolean_panel_bf16},
#endif
    {"scalar", kNone, scalar::boolean_panel_bf16},
});

const KernelTable<BooleanPanelFunction> boolean_panel_i8_table("boolean_panel_i8", {
    MBOK_VECTOR_CANDIDATES(boolean_panel_i8)
    {"scalar", kNone, scalar::boolean_panel_i8},
});

const KernelTable<BitTransposeFunction> bit_transpose_table("bit_transpose", {
#if defined(MBOK_X86)
    {"avx512", kAvx512, avx512::bit_transpose},
#endif
    {"scalar", kNone, scalar::bit_transpose},
});

}  // namespace mbok
