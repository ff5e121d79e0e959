#include <cmath>

#include "kernels/layer_norm/layer_norm.h"

namespace mbok::scalar {
namespace {

struct Statistics {
  double mean, rho;
};

Statistics statistics(const float* x, int64_t cols, float eps) {
  double sum = 0, squares = 0;
  for (int64_t j = 0; j < cols; ++j) sum += x[j];
  const double mean = sum / static_cast<double>(cols);
  for (int64_t j = 0; j < cols; ++j) squares += (x[j] - mean) * (x[j] - mean);
  return {mean, 1.0 / std::sqrt(squares / static_cast<double>(cols) + eps)};
}

}  // namespace

void layer_norm(const float* x, const float* w, const float* b, float* y, int64_t rows, int64_t cols, float eps) {
  for (int64_t r = 0; r < rows; ++r, x += cols, y += cols) {
    const Statistics s = statistics(x, cols, eps);
    for (int64_t j = 0; j < cols; ++j)
      y[j] = static_cast<float>((x[j] - s.mean) * s.rho * w[j] + (b != nullptr ? b[j] : 0.0f));
  }
}

void layer_norm_gradient(const float* dy, const float* x, const float* w, float* dx, float* dw, float* db, int64_t rows,
                         int64_t cols, float eps) {
  for (int64_t r = 0; r < rows; ++r, dy += cols, x += cols, dx += cols) {
    const Statistics s = statistics(x, cols, eps);
    double mean = 0, dot = 0;
    for (int64_t j = 0; j < cols; ++j) {
      const double g = static_cast<double>(dy[j]) * w[j];
      mean += g;
      dot += g * (x[j] - s.mean) * s.rho;
    }
    mean /= static_cast<double>(cols);
    dot /= static_cast<double>(cols);
    for (int64_t j = 0; j < cols; ++j) {
      const double normalized = (x[j] - s.mean) * s.rho;
      dx[j] = static_cast<float>(s.rho * (static_cast<double>(dy[j]) * w[j] - mean - normalized * dot));
      if (dw != nullptr) dw[j] += static_cast<float>(dy[j] * normalized);
      if (db != nullptr) db[j] += dy[j];
    }
  }
}

}  // namespace mbok::scalar
