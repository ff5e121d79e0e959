#include "kernels/rope/rope.h"

namespace mbok::scalar {

void rope(const float* x, const float* table, float* y, int64_t heads, int64_t d, int64_t turned, float direction) {
  const int64_t half = turned / 2;
  for (int64_t head = 0; head < heads; ++head, x += d, y += d) {
    for (int64_t j = 0; j < half; ++j) {
      const float c = table[j], s = direction * table[half + j];
      const float low = x[j], high = x[half + j];
      y[j] = low * c - high * s;
      y[half + j] = high * c + low * s;
    }
    for (int64_t j = turned; j < d; ++j) y[j] = x[j];
  }
}

}  // namespace mbok::scalar
