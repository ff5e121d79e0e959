// Candidates of the dispatch tables of dense_product.h.
#pragma once

#include "kernels/dense_product/dense_product.h"

namespace mbok {
namespace scalar {
void dense_product_f32(const ProductBlock& block);
void dense_product_bf16(const ProductBlock& block);
void dense_product_i8(const ProductBlock& block);
}  // namespace scalar
namespace avx2 {
void dense_product_f32(const ProductBlock& block);
void dense_product_i8(const ProductBlock& block);
}  // namespace avx2
namespace avx512 {
void dense_product_f32(const ProductBlock& block);
void dense_product_bf16(const ProductBlock& block);
void dense_product_amx(const ProductBlock& block);
void dense_product_i8(const ProductBlock& block);
}  // namespace avx512
namespace neon {
void dense_product_f32(const ProductBlock& block);
void dense_product_dotprod(const ProductBlock& block);
void dense_product_i8mm(const ProductBlock& block);
}  // namespace neon
}  // namespace mbok
