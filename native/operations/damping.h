// What calibration adds to the diagonal of H before it inverts it: damping · mean(diag H), or 1 if H is all zero. Then
// nothing is known about the inputs, and any multiple of the identity makes every weight take its nearest level.
#pragma once

#include <cstdint>

namespace mbok {

inline double damping_shift(const float* h, int64_t n, double damping) {
  double sum = 0;
  for (int64_t j = 0; j < n; ++j) sum += static_cast<double>(h[j * n + j]);
  return sum == 0 ? 1 : damping * sum / static_cast<double>(n);
}

}  // namespace mbok
