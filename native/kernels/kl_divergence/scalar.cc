#include <cmath>

#include "kernels/kl_divergence/kl_divergence.h"

namespace mbok::scalar {
namespace {

double logsumexp(const float* x, int64_t cols) {
  double largest = x[0], sum = 0;
  for (int64_t j = 1; j < cols; ++j) largest = x[j] > largest ? x[j] : largest;
  for (int64_t j = 0; j < cols; ++j) sum += std::exp(x[j] - largest);
  return largest + std::log(sum);
}

}  // namespace

double kl_divergence(const float* student, const float* teacher, int64_t cols) {
  const double s = logsumexp(student, cols), t = logsumexp(teacher, cols);
  double sum = 0;
  for (int64_t j = 0; j < cols; ++j) sum += std::exp(teacher[j] - t) * ((teacher[j] - t) - (student[j] - s));
  return sum;
}

void kl_divergence_gradient(const float* student, const float* teacher, int64_t cols, float factor, float* dstudent) {
  const double s = logsumexp(student, cols), t = logsumexp(teacher, cols);
  for (int64_t j = 0; j < cols; ++j)
    dstudent[j] = static_cast<float>(factor * (std::exp(student[j] - s) - std::exp(teacher[j] - t)));
}

}  // namespace mbok::scalar
