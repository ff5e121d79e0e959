#include "kernels/hidden_loss/hidden_loss.h"

namespace mbok::scalar {

HiddenDistance hidden_distance(const float* h, const float* t, int64_t cols) {
  HiddenDistance sum = {0, 0};
  for (int64_t j = 0; j < cols; ++j) {
    const double difference = static_cast<double>(h[j]) - t[j];
    sum.difference += difference * difference;
    sum.norm += static_cast<double>(t[j]) * t[j];
  }
  return sum;
}

void hidden_loss_gradient(const float* h, const float* t, int64_t cols, float factor, float* dh) {
  for (int64_t j = 0; j < cols; ++j) dh[j] = factor * (h[j] - t[j]);
}

}  // namespace mbok::scalar
