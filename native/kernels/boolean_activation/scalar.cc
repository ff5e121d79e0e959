#include <cmath>

#include "kernels/boolean_activation/boolean_activation.h"

namespace mbok::scalar {

void boolean_activation(const float* s, float threshold, uint64_t* bits, int64_t cols) {
  for (int64_t word = 0; word * 64 < cols; ++word) {
    uint64_t packed = 0;
    for (int64_t j = word * 64; j < cols && j < word * 64 + 64; ++j)
      packed |= static_cast<uint64_t>(s[j] >= threshold) << (j % 64);
    bits[word] = packed;
  }
}

void boolean_activation_gradient(const float* dy, const float* s, float threshold, float alpha, float* ds,
                                 int64_t count) {
  for (int64_t j = 0; j < count; ++j) {
    const float e = std::exp(-2.0f * std::fabs(alpha * (s[j] - threshold)));
    ds[j] = dy[j] * (4.0f * e / ((1.0f + e) * (1.0f + e)));
  }
}

}  // namespace mbok::scalar
