#include "kernels/gated_activation/gated_activation.h"

namespace mbok::scalar {

void gated_activation(ActivationKind kind, const float* gate, const float* up, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<float>(activation_value(kind, gate[i]) * up[i]);
}

void gated_activation_gradient(ActivationKind kind, const float* dy, const float* gate, const float* up, float* dgate,
                               float* dup, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const double g = gate[i], u = up[i], signal = dy[i];
    dgate[i] = static_cast<float>(signal * u * activation_slope(kind, g));
    dup[i] = static_cast<float>(signal * activation_value(kind, g));
  }
}

}  // namespace mbok::scalar
