#include <cmath>

#include "kernels/half/half.h"
#include "kernels/int8/int8.h"

namespace mbok::scalar {

void int8_widen(const int8_t* from, float scale, float* to, int64_t count) {
  for (int64_t j = 0; j < count; ++j) to[j] = scale * static_cast<float>(from[j]);
}

Int8Row int8_quantize(const float* from, int8_t* to, int64_t count) {
  Int8Row row = {};
  float largest = 0;
  for (int64_t j = 0; j < count; ++j) {
    const float magnitude = std::fabs(from[j]);
    if (magnitude > largest) largest = magnitude;
    row.norm += static_cast<double>(from[j]) * from[j];
  }
  const float exact = largest / 127;
  uint16_t stored;
  f16_narrow(&exact, &stored, 1);
  f16_widen(&stored, &row.scale, 1);
  for (int64_t j = 0; j < count; ++j) {
    const float whole = row.scale > 0 ? std::nearbyint(from[j] / row.scale) : 0.0f;
    // NaN fails both comparisons in this form and becomes 127; the returned sums reveal it
    const float kept = !(whole < 127) ? 127.0f : whole > -127 ? whole : -127.0f;
    to[j] = static_cast<int8_t>(kept);
    const double difference = static_cast<double>(from[j]) - static_cast<double>(row.scale * kept);
    row.error += difference * difference;
  }
  return row;
}

}  // namespace mbok::scalar
