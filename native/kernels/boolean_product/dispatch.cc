#include "kernels/boolean_product/boolean_product.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<BooleanProductFunction> boolean_product_table("boolean_product", {
#if defined(MBOK_X86)
    {"avx512_vpopcntdq", kAvx512 | kAvx512Vpopcntdq, avx512::boolean_product_vpopcntdq},
    {"avx2", kAvx2, avx2::boolean_product},
#elif defined(MBOK_NEON)
    {"neon", kNeon, neon::boolean_product},
#endif
    {"scalar", kNone, scalar::boolean_product},
});

const KernelTable<PackColumnsFunction> pack_columns_table("pack_columns", {
#if defined(MBOK_X86)
    {"avx512", kAvx512, avx512::pack_columns},
#endif
    {"scalar", kNone, scalar::pack_columns},
});

}  // namespace mbok
