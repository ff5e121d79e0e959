#include <cmath>

#include "kernels/softcap/softcap.h"

namespace mbok::scalar {

void softcap(float cap, const float* x, float* y, int64_t count) {
  const double c = cap;
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<float>(c * std::tanh(x[i] / c));
}

void softcap_gradient(float cap, const float* dy, const float* x, float* dx, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const double cosh = std::cosh(x[i] / static_cast<double>(cap));
    dx[i] = static_cast<float>(dy[i] / (cosh * cosh));
  }
}

}  // namespace mbok::scalar
