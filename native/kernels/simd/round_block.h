// A block of f32 as whole numbers with one scale, which several kernels read: numbers up to `most` in magnitude, scale =
// max |v| / most, each rounded to nearest, ties to even. A block that is not finite has the scale NaN and zeros. The
// scalar form; round_block_body.h is the same for a Vec, bit for bit.
#pragma once

#include <cmath>
#include <cstdint>

namespace mbok::scalar {

constexpr float kLeastScale = 1.17549435e-38f;  // of normal numbers: 1 / scale is finite

struct BlockScale {
  float scale, inverse;
  bool finite;
};

inline BlockScale block_scale(const float* values, int64_t count, float most) {
  float largest = 0;
  bool finite = true;
  for (int64_t j = 0; j < count; ++j) {
    finite = finite && std::isfinite(values[j]);
    largest = std::fmax(largest, std::fabs(values[j]));
  }
  const float scale = finite ? largest / most : NAN;
  return {scale, finite && scale >= kLeastScale ? 1 / scale : 0, finite};
}

inline int rounded(float value, const BlockScale& block, float most) {
  const float number = block.finite ? std::nearbyint(value * block.inverse) : 0;
  // 1 / scale may round upwards
  return static_cast<int>(std::fmax(-most, std::fmin(most, number)));
}

}  // namespace mbok::scalar
