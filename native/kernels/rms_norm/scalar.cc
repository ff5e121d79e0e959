#include <cmath>

#include "kernels/rms_norm/rms_norm.h"

namespace mbok::scalar {

static double inverse_rms(const float* x, int64_t cols, float eps) {
  double sum = 0;
  for (int64_t j = 0; j < cols; ++j) sum += static_cast<double>(x[j]) * x[j];
  return 1.0 / std::sqrt(sum / static_cast<double>(cols) + eps);
}

static double weight(float offset, float w) { return static_cast<double>(offset) + w; }

void rms_norm(const float* x, const float* w, float* y, int64_t rows, int64_t cols, float eps, float offset) {
  for (int64_t r = 0; r < rows; ++r, x += cols, y += cols) {
    const double rho = inverse_rms(x, cols, eps);
    for (int64_t j = 0; j < cols; ++j) y[j] = static_cast<float>(x[j] * rho * weight(offset, w[j]));
  }
}

void rms_norm_gradient(const float* dy, const float* x, const float* w, float* dx, float* dw, int64_t rows,
                       int64_t cols, float eps, float offset) {
  for (int64_t r = 0; r < rows; ++r, dy += cols, x += cols, dx += cols) {
    const double rho = inverse_rms(x, cols, eps);
    double dot = 0;
    for (int64_t j = 0; j < cols; ++j) dot += dy[j] * weight(offset, w[j]) * x[j];
    const double back = rho * rho * dot / static_cast<double>(cols);
    for (int64_t j = 0; j < cols; ++j) dx[j] = static_cast<float>(rho * (dy[j] * weight(offset, w[j]) - x[j] * back));
    if (dw != nullptr)
      for (int64_t j = 0; j < cols; ++j) dw[j] += static_cast<float>(dy[j] * x[j] * rho);
  }
}

}  // namespace mbok::scalar
