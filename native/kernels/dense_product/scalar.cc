#include <cmath>
#include <cstring>

#include "kernels/dense_product/candidates.h"

namespace mbok::scalar {
namespace {

void store(const ProductBlock& p, int64_t row, int64_t col, float sum) {
  float& c = p.c[row * p.c_stride + col];
  c = (p.accumulate ? c : p.bias != nullptr ? p.bias[col] : 0.0f) + sum;
}

float from_bf16(uint32_t bits) {
  const uint32_t wide = bits << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

}  // namespace

void dense_product_f32(const ProductBlock& p) {
  const float* a = static_cast<const float*>(p.a);
  const float* b = static_cast<const float*>(p.b);
  for (int64_t row = 0; row < p.rows; ++row)
    for (int64_t col = 0; col < p.cols; ++col) {
      float sum = 0;
      for (int64_t d = 0; d < p.depth; ++d)
        sum = std::fma(a[row * p.a_row + d * p.a_depth], b[d * kPanelCols + col], sum);
      store(p, row, col, sum);
    }
}

void dense_product_bf16(const ProductBlock& p) {
  const uint32_t* a = static_cast<const uint32_t*>(p.a);
  const uint32_t* b = static_cast<const uint32_t*>(p.b);
  for (int64_t row = 0; row < p.rows; ++row)
    for (int64_t col = 0; col < p.cols; ++col) {
      float sum = 0;
      for (int64_t d = 0; d < p.depth; ++d) {
        const uint32_t x = a[row * p.a_row + d * p.a_depth], y = b[d * kPanelCols + col];
        sum += from_bf16(x >> 16) * from_bf16(y >> 16) + from_bf16(x & 0xffff) * from_bf16(y & 0xffff);
      }
      store(p, row, col, sum);
    }
}

}  // namespace mbok::scalar
