#include "kernels/refit/refit.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<NearestLevelsFunction> nearest_levels_table("nearest_levels", {
    MBOK_VECTOR_CANDIDATES(nearest_levels)
    {"scalar", kNone, scalar::nearest_levels},
});

const KernelTable<RowSumsFunction> row_sums_table("row_sums", {
    MBOK_VECTOR_CANDIDATES(row_sums)
    {"scalar", kNone, scalar::row_sums},
});

const KernelTable<ColumnSumsFunction> column_sums_table("column_sums", {
    MBOK_VECTOR_CANDIDATES(column_sums)
    {"scalar", kNone, scalar::column_sums},
});

const KernelTable<ResidualRowFunction> residual_row_table("residual_row", {
    MBOK_VECTOR_CANDIDATES(residual_row)
    {"scalar", kNone, scalar::residual_row},
});

const KernelTable<DesignRowFunction> design_row_table("design_row", {
    MBOK_VECTOR_CANDIDATES(design_row)
    {"scalar", kNone, scalar::design_row},
});

}  // namespace mbok
