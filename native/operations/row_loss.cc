#include "operations/row_loss.h"

#include <cmath>

#include "kernels/cross_entropy/cross_entropy.h"

namespace mbok {

// The others are summed by themselves, with the kept logits put out of the way: as a difference of sums near one they
// would lose all precision.
double kept_divergence(const KeptTokens& kept, int64_t row, float* logits, int64_t cols, bool gradient, float factor,
                       float* scratch) {
  const int32_t* const ids = kept.ids + row * kept.count;
  const float* const log_values = kept.log_values + row * (kept.count + 1);
  const double all = cross_entropy_table.best()(logits, cols, 0) + static_cast<double>(logits[0]);  // log Σ e^x
  double loss = 0;
  for (int64_t i = 0; i < kept.count; ++i) {
    const double p = std::exp(static_cast<double>(log_values[i])), x = logits[ids[i]];
    loss += p == 0 ? 0 : p * (log_values[i] - (x - all));
    scratch[i] = factor * static_cast<float>(std::exp(x - all) - p);
    logits[ids[i]] = -INFINITY;
  }
  int64_t other = 0;
  while (other + 1 < cols && logits[other] == -INFINITY) ++other;
  const SoftmaxSum of_others = softmax_sum_table.best()(logits, cols);
  const double rest = cross_entropy_of(of_others, logits[other]) + static_cast<double>(logits[other]);
  const double log_left = log_values[kept.count], left = std::exp(log_left);
  loss += left == 0 ? 0 : left * (log_left - (rest - all));
  if (gradient) {
    const float share = factor * static_cast<float>(std::exp(rest - all) - left);
    cross_entropy_gradient_table.best()(logits, cols, other, of_others, share, logits);
    logits[other] += share;
    for (int64_t i = 0; i < kept.count; ++i) logits[ids[i]] = scratch[i];
  }
  return loss;
}

}  // namespace mbok
