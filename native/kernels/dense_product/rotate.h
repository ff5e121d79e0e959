// The rotation of 8-bit operands (dense_product.h) for the scalar candidates.
#pragma once

#include "kernels/dense_product/dense_product.h"

namespace mbok::scalar {

// values ← H · values with H[i][j] = (−1)^popcount(i & j), of kRotated numbers: butterflies 1, 2, 4, … apart.
inline void rotate(float* values) {
  for (int64_t apart = 1; apart < kRotated; apart *= 2)
    for (int64_t i = 0; i < kRotated; ++i) {
      if (i & apart) continue;
      const float a = values[i], b = values[i + apart];
      values[i] = a + b;
      values[i + apart] = a - b;
    }
}

}  // namespace mbok::scalar
