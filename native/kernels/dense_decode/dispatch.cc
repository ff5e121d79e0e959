#include "kernels/dense_decode/candidates.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<DenseDecodeFunction> dense_decode_f32_table("dense_decode_f32", {
    MBOK_VECTOR_CANDIDATES(dense_decode_f32)
    {"scalar", kNone, scalar::dense_decode_f32},
});

const KernelTable<DenseDecodeFunction> dense_decode_f16_table("dense_decode_f16", {
    MBOK_VECTOR_CANDIDATES(dense_decode_f16)
    {"scalar", kNone, scalar::dense_decode_f16},
});

const KernelTable<DenseDecodeFunction> dense_decode_bf16_table("dense_decode_bf16", {
    MBOK_VECTOR_CANDIDATES(dense_decode_bf16)
    {"scalar", kNone, scalar::dense_decode_bf16},
});

const KernelTable<DenseDecodeFunction> dense_decode_i8_table("dense_decode_i8", {
    MBOK_VECTOR_CANDIDATES(dense_decode_i8)
    {"scalar", kNone, scalar::dense_decode_i8},
});

const KernelTable<DenseDecodeFunction> dense_decode_q8_table("dense_decode_q8", {
    MBOK_VECTOR_CANDIDATES(dense_decode_q8)
    {"scalar", kNone, scalar::dense_decode_q8},
});

}  // namespace mbok
