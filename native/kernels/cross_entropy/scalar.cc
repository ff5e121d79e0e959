#include <cmath>

#include "kernels/cross_entropy/cross_entropy.h"

namespace mbok::scalar {
namespace {

double logsumexp(const float* x, int64_t cols) {
  double largest = x[0], sum = 0;
  for (int64_t j = 1; j < cols; ++j) largest = x[j] > largest ? x[j] : largest;
  for (int64_t j = 0; j < cols; ++j) sum += std::exp(x[j] - largest);
  return largest + std::log(sum);
}

}  // namespace

double cross_entropy(const float* logits, int64_t cols, int64_t target) {
  return logsumexp(logits, cols) - logits[target];
}

void cross_entropy_gradient(const float* logits, int64_t cols, int64_t target, float factor, float* dlogits) {
  const double lse = logsumexp(logits, cols);
  for (int64_t j = 0; j < cols; ++j)
    dlogits[j] = static_cast<float>(factor * (std::exp(logits[j] - lse) - (j == target ? 1 : 0)));
}

}  // namespace mbok::scalar
