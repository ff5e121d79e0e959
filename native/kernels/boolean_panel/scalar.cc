#include <cmath>
#include <cstring>

#include "kernels/boolean_panel/candidates.h"
#include "kernels/dense_product/dense_product.h"
#include "kernels/dense_product/rotate.h"

namespace mbok::scalar {
namespace {

float weight(const BooleanPanel& s, int64_t d, int64_t j) {
  float sum = 0;
  for (int64_t k = 0; k < s.kernels; ++k) {
    const bool positive = s.signs[k * s.kernel_stride + d * s.depth_stride] >> j & 1;
    const float across = s.across[k * kPanelCols + j];
    sum = std::fma(s.along[k * s.along_stride + d], positive ? across : -across, sum);
  }
  return sum;
}

constexpr float kLeastBound = 1e-36f;  // 127 / kLeastBound is finite

uint32_t to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >> 16) | 0x40;  // keeps NaN
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

}  // namespace

void boolean_panel_f32(const BooleanPanel& s, void* panel) {
  float* out = static_cast<float*>(panel);
  for (int64_t d = 0; d < s.depth; ++d)
    for (int64_t j = 0; j < kPanelCols; ++j) *out++ = weight(s, d, j);
}

void boolean_panel_bf16(const BooleanPanel& s, void* panel) {
  char* out = static_cast<char*>(panel);
  for (int64_t d = 0; d < s.depth; d += 2)
    for (int64_t j = 0; j < kPanelCols; ++j, out += 4) {
      const uint32_t second = d + 1 < s.depth ? to_bf16(weight(s, d + 1, j)) : 0;
      const uint32_t pair = to_bf16(weight(s, d, j)) | second << 16;
      std::memcpy(out, &pair, 4);
    }
}

void boolean_panel_i8(const BooleanPanel& s, void* panel) {
  unsigned char* out = static_cast<unsigned char*>(panel);
  const int64_t depth = (s.depth + kRotated - 1) / kRotated * kRotated;
  for (int64_t j = 0; j < kPanelCols; ++j) {
    float weights[4 * kInt8Steps];
    float largest = 0;
    for (int64_t d = 0; d < depth; ++d) weights[d] = d < s.depth ? weight(s, d, j) : 0;
    for (int64_t d = 0; d < depth; d += kRotated) rotate(weights + d);
    for (int64_t d = 0; d < depth; ++d) largest = std::fmax(largest, std::fabs(weights[d]));
    const float inverse = largest > kLeastBound ? 127 / largest : 0, scale = largest / 127;
    for (int64_t d = 0; d < depth; ++d)
      out[(d / 4 * kPanelCols + j) * 4 + d % 4] =
          static_cast<unsigned char>(std::fmin(255.0f, std::nearbyint(std::fma(weights[d], inverse, 128.0f))));
    std::memcpy(out + (kInt8Steps * kPanelCols + j) * 4, &scale, 4);
  }
}

void bit_transpose(const uint64_t* rows, int64_t stride, int64_t count, uint64_t* out) {
  for (int64_t i = 0; i < 64; ++i) out[i] = i < count ? rows[i * stride] : 0;
  // Exchange the off-diagonal quarters of 64 × 64, then of each 32 × 32, …
  uint64_t mask = 0x00000000ffffffff;
  for (int half = 32; half > 0; half /= 2, mask ^= mask << half)
    for (int i = 0; i < 64; ++i) {
      if (i & half) continue;
      const uint64_t swap = ((out[i] >> half) ^ out[i + half]) & mask;
      out[i] ^= swap << half;
      out[i + half] ^= swap;
    }
}

}  // namespace mbok::scalar
