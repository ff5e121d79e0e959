#include "kernels/boolean_decode/candidates.h"

namespace mbok::scalar {

void boolean_decode(const BooleanDecode& p) {
  const int64_t padded = 64 * p.words;
  for (int64_t r = 0; r < p.rows; ++r)
    for (int64_t i = 0; i < p.outputs; ++i) {
      float total = 0;
      for (int64_t k = 0; k < p.kernels; ++k) {
        const float* scaled = p.scaled + (r * p.kernels + k) * padded;
        const uint64_t* bits = p.bits + k * p.kernel_stride + i * p.words;
        float sum = 0;
        for (int64_t j = 0; j < padded; ++j) sum += bits[j / 64] >> (j % 64) & 1 ? -scaled[j] : scaled[j];
        total += p.s_out[k * p.s_out_stride + i] * sum;
      }
      p.y[r * p.y_stride + i] = (p.bias != nullptr ? p.bias[i] : 0.0f) + total;
    }
}

void decode_scale(const float* x, const float* s_in, int64_t n, float* scaled) {
  for (int64_t j = 0; j < n; ++j) scaled[j] = -x[j] * s_in[j];
  for (int64_t j = n; j % 64 != 0; ++j) scaled[j] = 0;
}

}  // namespace mbok::scalar
