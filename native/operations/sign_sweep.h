// Coordinate descent over the signs of one row x [1, r], whose half gradient g moves by weight · change · G_k, G [r, r]
// symmetric, when x_k changes. Columns in order: x_k is flipped if x_k g_k > x_k² weight G_kk, which lowers the sum.
#pragma once

#include <cstdint>

namespace mbok {

inline void sweep_signs(const float* gram, float weight, int64_t r, float* x, float* gradient) {
  for (int64_t k = 0; k < r; ++k) {
    if (!(x[k] * gradient[k] > x[k] * x[k] * weight * gram[k * r + k])) continue;
    x[k] = -x[k];
    const float change = weight * 2 * x[k];
    for (int64_t l = 0; l < r; ++l) gradient[l] += change * gram[k * r + l];
  }
}

}  // namespace mbok
