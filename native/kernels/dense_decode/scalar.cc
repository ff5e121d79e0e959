#include "kernels/dense_decode/candidates.h"

namespace mbok::scalar {

void dense_decode(const DenseDecode& p) {
  for (int64_t r = 0; r < p.rows; ++r)
    for (int64_t i = 0; i < p.outputs; ++i) {
      float sum = 0;
      for (int64_t d = 0; d < p.depth; ++d) sum += p.x[r * p.depth + d] * p.w[i * p.depth + d];
      p.y[r * p.y_stride + i] = (p.bias != nullptr ? p.bias[i] : 0.0f) + sum;
    }
}

}  // namespace mbok::scalar
