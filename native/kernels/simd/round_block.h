// Rounds a block of f32 to integers of magnitude up to `most` with one scale = max |v| / most: to nearest, ties to
// even. A block that is not finite gets scale NaN and zeros. Several kernels use it. This is the scalar form;
// round_block_body.h is the same over Vec, bit for bit.
#pragma once

#include <cmath>
#include <cstdint>

namespace mbok::scalar {

constexpr float kLeastScale = 1.17549435e-38f;  // the least normal number: 1 / scale is finite

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
  // 1 / scale may be rounded upwards
  return static_cast<int>(std::fmax(-most, std::fmin(most, number)));
}

}  // namespace mbok::scalar
