#include <cmath>
#include <cstddef>
#include <cstring>

#include "kernels/dense_product/candidates.h"

namespace mbok::scalar {
namespace {

#include "kernels/dense_product/panels.h"

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

void panel_f32(const ProductBlock& p) {
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

void panel_bf16(const ProductBlock& p) {
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

void panel_i8(const ProductBlock& p) {
  const std::byte* const a = static_cast<const std::byte*>(p.a);
  const std::byte* const b = static_cast<const std::byte*>(p.b);
  for (int64_t row = 0; row < p.rows; ++row) {
    const std::byte* const numbers = a + row * p.a_row * 4;
    float scale;
    int32_t first;
    std::memcpy(&scale, numbers + kInt8Steps * 4, sizeof scale);
    std::memcpy(&first, numbers + kInt8Steps * 4 + 4, sizeof first);
    for (int64_t col = 0; col < p.cols; ++col) {
      int32_t sum = first;
      for (int64_t d = 0; d < 4 * p.depth; ++d)
        sum += static_cast<int8_t>(numbers[d]) * static_cast<uint8_t>(b[d / 4 * kPanelCols * 4 + col * 4 + d % 4]);
      float across;
      std::memcpy(&across, b + (kInt8Steps * kPanelCols + col) * 4, sizeof across);
      float& c = p.c[row * p.c_stride + col];
      const float start = p.accumulate ? c : p.bias != nullptr ? p.bias[col] : 0.0f;
      c = std::fma(static_cast<float>(sum), scale * across, start);
    }
  }
}

}  // namespace

void dense_product_f32(const ProductBlock& block) { for_each_panel(block, panel_f32); }
void dense_product_bf16(const ProductBlock& block) { for_each_panel(block, panel_bf16); }
void dense_product_i8(const ProductBlock& block) { for_each_panel(block, panel_i8); }

}  // namespace mbok::scalar
