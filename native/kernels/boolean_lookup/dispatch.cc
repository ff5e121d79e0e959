#include "kernels/boolean_lookup/candidates.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<BooleanLookupFunction> boolean_lookup_table("boolean_lookup", {
    MBOK_X86_CANDIDATES(boolean_lookup)
    {"scalar", kNone, scalar::boolean_lookup},
});

const KernelTable<LookupTablesFunction> lookup_tables_table("lookup_tables", {
#if defined(MBOK_X86)
    {"avx2", kAvx2, avx2::lookup_tables},
#endif
    {"scalar", kNone, scalar::lookup_tables},
});

}  // namespace mbok
