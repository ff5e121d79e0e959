#include "kernels/dense_panel/candidates.h"
#include "kernels/simd/target.h"

namespace mbok {

#if defined(MBOK_X86)
#define MBOK_BF16_CANDIDATE(function) {"avx512_bf16", kAvx512 | kAvx512Bf16, avx512::function},
#else
#define MBOK_BF16_CANDIDATE(function)
#endif

const KernelTable<DensePanelFunction> dense_panel_rows_f32_table("dense_panel_rows_f32", {
    MBOK_VECTOR_CANDIDATES(dense_panel_rows_f32)
    {"scalar", kNone, scalar::dense_panel_rows_f32},
});

const KernelTable<DensePanelFunction> dense_panel_rows_bf16_table("dense_panel_rows_bf16", {
    MBOK_BF16_CANDIDATE(dense_panel_rows_bf16)
    {"scalar", kNone, scalar::dense_panel_rows_bf16},
});

const KernelTable<DensePanelFunction> dense_panel_columns_f32_table("dense_panel_columns_f32", {
    MBOK_VECTOR_CANDIDATES(dense_panel_columns_f32)
    {"scalar", kNone, scalar::dense_panel_columns_f32},
});

const KernelTable<DensePanelFunction> dense_panel_columns_bf16_table("dense_panel_columns_bf16", {
    MBOK_BF16_CANDIDATE(dense_panel_columns_bf16)
    {"scalar", kNone, scalar::dense_panel_columns_bf16},
});

const KernelTable<Bf16ConvertFunction> bf16_convert_table("bf16_convert", {
    MBOK_BF16_CANDIDATE(bf16_convert)
    {"scalar", kNone, scalar::bf16_convert},
});

const KernelTable<Int8RowFunction> int8_row_table("int8_row", {
    MBOK_VECTOR_CANDIDATES(int8_row)
    {"scalar", kNone, scalar::int8_row},
});

}  // namespace mbok
