#include "kernels/boolean_lookup/candidates.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<BooleanLookupFunction> boolean_lookup_table("boolean_lookup", {
#if defined(MBOK_X86)
    {"avx512_vbmi", kAvx512 | kAvx512Vbmi | kIntel, avx512::boolean_lookup_vbmi},
    {"avx512", kAvx512, avx512::boolean_lookup},
    {"avx2_pairs", kAvx2 | kIntel, avx2::boolean_lookup_pairs},
    {"avx2", kAvx2, avx2::boolean_lookup},
#elif defined(MBOK_NEON)
    {"neon", kNeon, neon::boolean_lookup},
#endif
    {"scalar", kNone, scalar::boolean_lookup},
});

const KernelTable<LookupTablesFunction> lookup_tables_table("lookup_tables", {
    MBOK_VECTOR_CANDIDATES(lookup_tables)
    {"scalar", kNone, scalar::lookup_tables},
});

}  // namespace mbok
