#include <cstring>

#include "kernels/dense_panel/candidates.h"
#include "kernels/dense_product/rotate.h"
#include "kernels/simd/round_block.h"

namespace mbok::scalar {
namespace {

uint32_t to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >> 16) | 0x40;  // keeps NaN
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

template <class Value>  // value(item, d) is the source, 0 outside
void pack_bf16(const PanelSource& s, void* panel, Value value) {
  for (int64_t d = 0; d < s.depth; d += 2)
    for (int64_t item = 0; item < s.width; ++item) {
      const uint32_t pair = to_bf16(value(item, d)) | to_bf16(value(item, d + 1)) << 16;
      std::memcpy(static_cast<char*>(panel) + (d / 2 * s.width + item) * 4, &pair, 4);
    }
}

}  // namespace

void dense_panel_rows_f32(const PanelSource& s, void* panel) {
  float* out = static_cast<float*>(panel);
  for (int64_t d = 0; d < s.depth; ++d)
    for (int64_t item = 0; item < s.width; ++item)
      out[d * s.width + item] = item < s.items ? s.source[item * s.stride + d] : 0.0f;
}

void dense_panel_columns_f32(const PanelSource& s, void* panel) {
  float* out = static_cast<float*>(panel);
  for (int64_t d = 0; d < s.depth; ++d, out += s.width) {
    std::memcpy(out, s.source + d * s.stride, static_cast<size_t>(s.items) * sizeof(float));
    std::memset(out + s.items, 0, static_cast<size_t>(s.width - s.items) * sizeof(float));
  }
}

void dense_panel_rows_bf16(const PanelSource& s, void* panel) {
  pack_bf16(s, panel, [&](int64_t item, int64_t d) {
    return item < s.items && d < s.depth ? s.source[item * s.stride + d] : 0.0f;
  });
}

void dense_panel_columns_bf16(const PanelSource& s, void* panel) {
  pack_bf16(s, panel, [&](int64_t item, int64_t d) {
    return item < s.items && d < s.depth ? s.source[d * s.stride + item] : 0.0f;
  });
}

void bf16_convert(const float* x, int64_t rows, int64_t cols, uint16_t* y) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t col = 0; col < cols; ++col) *y++ = static_cast<uint16_t>(to_bf16(x[row * cols + col]));
    if (cols % 2 != 0) *y++ = 0;
  }
}

void int8_row(const float* x, int64_t cols, void* y) {
  constexpr int64_t kNumbers = 4 * kInt8Steps;
  constexpr float kLargest = 127;
  std::byte* block = static_cast<std::byte*>(y);
  for (int64_t first = 0; first < cols; first += kNumbers, block += 4 * kInt8RowSteps) {
    float values[kNumbers];
    for (int64_t j = 0; j < kNumbers; ++j) values[j] = first + j < cols ? x[first + j] : 0;
    for (int64_t j = 0; j < kNumbers; j += kRotated) rotate(values + j);
    const BlockScale scale = block_scale(values, kNumbers, kLargest);
    int32_t sum = 0;
    for (int64_t j = 0; j < kNumbers; ++j) {
      const int number = rounded(values[j], scale, kLargest);
      block[j] = static_cast<std::byte>(number);
      sum += number;
    }
    const float product_scale = scale.scale / kRotated;
    sum *= -128;
    std::memcpy(block + kNumbers, &product_scale, sizeof product_scale);
    std::memcpy(block + kNumbers + 4, &sum, sizeof sum);
  }
}

}  // namespace mbok::scalar
