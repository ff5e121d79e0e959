#include <cmath>

#include "kernels/activation/activation.h"

namespace mbok::scalar {
namespace {

constexpr double kSqrtHalf = 0.70710678118654752;       // √½
constexpr double kNormalDensity = 0.39894228040143268;  // 1 / √(2π)
constexpr double kGeluTanhScale = 0.79788456080286536;  // √(2/π)
constexpr double kGeluTanhCubic = 0.044715;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

double activation_value(ActivationKind kind, double x) {
  switch (kind) {
    case ActivationKind::kSilu:
      return x * sigmoid(x);
    case ActivationKind::kGelu:
      return x * 0.5 * std::erfc(-x * kSqrtHalf);
    case ActivationKind::kGeluTanh:
      return x * sigmoid(2 * kGeluTanhScale * (x + kGeluTanhCubic * x * x * x));
    case ActivationKind::kRelu:
      break;
  }
  return x <= 0 ? 0 : x;
}

double activation_slope(ActivationKind kind, double x) {
  switch (kind) {
    case ActivationKind::kSilu: {
      const double s = sigmoid(x);
      return s + x * s * (1 - s);
    }
    case ActivationKind::kGelu:
      return 0.5 * std::erfc(-x * kSqrtHalf) + x * kNormalDensity * std::exp(-0.5 * x * x);
    case ActivationKind::kGeluTanh: {
      const double s = sigmoid(2 * kGeluTanhScale * (x + kGeluTanhCubic * x * x * x));
      return s + x * s * (1 - s) * 2 * kGeluTanhScale * (1 + 3 * kGeluTanhCubic * x * x);
    }
    case ActivationKind::kRelu:
      break;
  }
  return x <= 0 ? 0 : 1;
}

void activation(ActivationKind kind, const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<float>(activation_value(kind, x[i]));
}

void activation_gradient(ActivationKind kind, const float* dy, const float* x, float* dx, int64_t count) {
  for (int64_t i = 0; i < count; ++i) dx[i] = static_cast<float>(dy[i] * activation_slope(kind, x[i]));
}

}  // namespace mbok::scalar
