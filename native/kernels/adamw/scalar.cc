#include <cmath>

#include "kernels/adamw/adamw.h"

namespace mbok::scalar {

void adamw(const float* g, float* p, float* m, float* v, int64_t count, const AdamwStep& step) {
  for (int64_t i = 0; i < count; ++i) {
    const float gradient = g[i] * step.scale;
    m[i] = step.beta1 * m[i] + step.one_minus_beta1 * gradient;
    v[i] = step.beta2 * v[i] + step.one_minus_beta2 * (gradient * gradient);
    p[i] = step.keep * p[i] - step.rate * m[i] / (std::sqrt(v[i]) * step.root + step.eps);
  }
}

}  // namespace mbok::scalar
