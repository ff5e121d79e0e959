#include "kernels/boolean_product/boolean_product.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<BooleanProductFunction> boolean_product_table("boolean_product", {
#if defined(MBOK_X86)
    {"avx512_vpopcntdq", kAvx512 | kAvx512Vpopcntdq, avx512::boolean_product_vpopcntdq},
    {"avx2", kAvx2, avx2::boolean_product},
#endif
    {"scalar", kNone, scalar::boolean_product},
});

}  // namespace mbok
