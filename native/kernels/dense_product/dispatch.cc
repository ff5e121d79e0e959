#include "kernels/dense_product/candidates.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<DenseProductFunction> dense_product_f32_table("dense_product_f32", {
    MBOK_VECTOR_CANDIDATES(dense_product_f32)
    {"scalar", kNone, scalar::dense_product_f32},
});

const KernelTable<DenseProductFunction> dense_product_bf16_table("dense_product_bf16", {
#if defined(MBOK_X86)
    {"avx512_amx", kAvx512 | kAvx512Bf16 | kAmxBf16, avx512::dense_product_amx},
    {"avx512_bf16", kAvx512 | kAvx512Bf16, avx512::dense_product_bf16},
#endif
    {"scalar", kNone, scalar::dense_product_bf16},
});

const KernelTable<DenseProductFunction> dense_product_i8_table("dense_product_i8", {
#if defined(MBOK_X86)
    {"avx512_vnni", kAvx512 | kAvx512Vnni, avx512::dense_product_i8},
    {"avx2_vnni", kAvx2 | kAvxVnni, avx2::dense_product_i8},
#elif defined(MBOK_NEON)
    {"neon_i8mm", kNeon | kI8mm, neon::dense_product_i8mm},
    {"neon_dotprod", kNeon | kDotprod, neon::dense_product_dotprod},
#endif
    {"scalar", kNone, scalar::dense_product_i8},
});

}  // namespace mbok
