// One row of logits against the token that came: −log softmax(x)_target = logsumexp(x) − x_target, and its gradient
// times `factor`: factor · (softmax(x) − onehot(target)).
//
// Where a row is never in memory whole, its parts are: largest_i = max_j x_j and sum_i = Σ_j e^(x_j − largest_i) over the i-th
// of them (no sum where all are −∞); log Σ_i sum_i·e^largest_i is then the row's logsumexp.
//
// Any alignment. Vector versions subtract the maximum, sum the exponentials in f32 over runs of 512 elements and the
// runs in f64, so that a vocabulary of 10⁵ costs no precision. Three passes over a row that L2 holds: compute
// bound, an exponential being 16 operations a vector.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

// sum = Σ_j e^(x_j − largest), largest = max_j x_j: what a loss and its gradient both need.
struct SoftmaxSum {
  float largest;
  double sum;
};
using SoftmaxSumFunction = SoftmaxSum(const float* logits, int64_t cols);
using CrossEntropyFunction = double(const float* logits, int64_t cols, int64_t target);
// `of`: softmax_sum of the row. dlogits may be logits.
using CrossEntropyGradientFunction = void(const float* logits, int64_t cols, int64_t target, const SoftmaxSum& of,
                                          float factor, float* dlogits);

// A part of `rows` rows, x[r * stride + j], at most 512 columns.
struct LogitTile {
  const float* x;
  int64_t stride, rows, cols;
};
using ExpSumsFunction = void(const LogitTile& tile, float* largest, float* sums);
using LogSumOfPartsFunction = double(const float* largest, const float* sums, int64_t parts);

// A row as a distribution: the logarithm of Σ e^x and Σ_j p_j log p_j for p = softmax(x), its entropy's opposite.
struct LogProbabilities {
  double log_sum, expected;
};
using LogProbabilitiesFunction = LogProbabilities(const float* x, int64_t cols);

namespace scalar {
SoftmaxSumFunction softmax_sum;
LogProbabilitiesFunction log_probabilities;
ExpSumsFunction exp_sums;
LogSumOfPartsFunction log_sum_of_parts;
CrossEntropyFunction cross_entropy;
CrossEntropyGradientFunction cross_entropy_gradient;
}  // namespace scalar
MBOK_DECLARE_VECTOR(
SoftmaxSumFunction softmax_sum;
LogProbabilitiesFunction log_probabilities;
ExpSumsFunction exp_sums;
LogSumOfPartsFunction log_sum_of_parts;
CrossEntropyFunction cross_entropy;
CrossEntropyGradientFunction cross_entropy_gradient;
)

extern const KernelTable<SoftmaxSumFunction> softmax_sum_table;
extern const KernelTable<LogProbabilitiesFunction> log_probabilities_table;
extern const KernelTable<ExpSumsFunction> exp_sums_table;
extern const KernelTable<LogSumOfPartsFunction> log_sum_of_parts_table;
extern const KernelTable<CrossEntropyFunction> cross_entropy_table;
extern const KernelTable<CrossEntropyGradientFunction> cross_entropy_gradient_table;

// The loss of a token with this logit.
double cross_entropy_of(const SoftmaxSum& of, float logit);

}  // namespace mbok
