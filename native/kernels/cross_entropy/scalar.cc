#include <cmath>

#include "kernels/cross_entropy/cross_entropy.h"

namespace mbok::scalar {
namespace {

double logsumexp(const float* x, int64_t cols) {
  const SoftmaxSum of = softmax_sum(x, cols);
  return static_cast<double>(of.largest) + std::log(of.sum);
}

}  // namespace

SoftmaxSum softmax_sum(const float* x, int64_t cols) {
  SoftmaxSum of = {x[0], 0};
  for (int64_t j = 1; j < cols; ++j) of.largest = x[j] > of.largest ? x[j] : of.largest;
  for (int64_t j = 0; j < cols; ++j) of.sum += std::exp(static_cast<double>(x[j]) - of.largest);
  return of;
}

void exp_sums(const LogitTile& tile, float* largest, float* sums) {
  for (int64_t r = 0; r < tile.rows; ++r) {
    const SoftmaxSum of = softmax_sum(tile.x + r * tile.stride, tile.cols);
    largest[r] = of.largest;
    sums[r] = of.largest == -INFINITY ? 0 : static_cast<float>(of.sum);
  }
}

double log_sum_of_parts(const float* largest, const float* sums, int64_t parts) {
  double most = largest[0], sum = 0;
  for (int64_t i = 1; i < parts; ++i) most = largest[i] > most ? largest[i] : most;
  for (int64_t i = 0; i < parts; ++i) sum += sums[i] * std::exp(largest[i] - most);
  return most + std::log(sum);
}

LogProbabilities log_probabilities(const float* x, int64_t cols) {
  const double all = logsumexp(x, cols);
  double expected = 0;
  for (int64_t j = 0; j < cols; ++j) expected += x[j] == -INFINITY ? 0 : std::exp(x[j] - all) * (x[j] - all);
  return {all, expected};
}

double cross_entropy(const float* logits, int64_t cols, int64_t target) {
  return cross_entropy_of(softmax_sum(logits, cols), logits[target]);
}

void cross_entropy_gradient(const float* logits, int64_t cols, int64_t target, const SoftmaxSum& of, float factor,
                            float* dlogits) {
  for (int64_t j = 0; j < cols; ++j) {
    const double p = std::exp(static_cast<double>(logits[j]) - of.largest) / of.sum;
    dlogits[j] = static_cast<float>(factor * (p - (j == target ? 1 : 0)));
  }
}

}  // namespace mbok::scalar
