#include "kernels/boolean_lookup/candidates.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<BooleanLookupFunction> boolean_lookup_table("boolean_lookup", {
    MBOK_VECTOR_CANDIDATES(boolean_lookup)
    {"scalar", kNone, scalar::boolean_lookup},
});

const KernelTable<LookupTablesFunction> lookup_tables_table("lookup_tables", {
#if defined(MBOK_X86)
    {"avx2", kAvx2, avx2::lookup_tables},
#elif defined(MBOK_NEON)
    {"neon", kNeon, neon::lookup_tables},
#endif
    {"scalar", kNone, scalar::lookup_tables},
});

}  // namespace mbok
