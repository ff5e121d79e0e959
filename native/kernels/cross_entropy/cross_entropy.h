// One row of logits against the token that came: −log softmax(x)_target = logsumexp(x) − x_target, and its gradient
// times `factor`: factor · (softmax(x) − onehot(target)).
//
// Where a row is never in cache whole, its parts are: largest_i = max_j x_j and sum_i = Σ_j e^(x_j − largest_i) over the i-th
// of them (0 where all are −∞); the row's sum is then Σ_i sum_i·e^(largest_i − largest).
//
// Any alignment. Vector versions subtract the maximum, sum the exponentials in f32 over runs of 512 elements and the
// runs in f64, so that a vocabulary of 10⁵ costs no precision. An exponential is 16 operations a vector: compute bound
// where L2 holds what is read.
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
// Of a row or a part of one. `of`: softmax_sum of the row; a target outside of [0, cols) is in another part. dlogits may be
// logits.
using CrossEntropyGradientFunction = void(const float* logits, int64_t cols, int64_t target, const SoftmaxSum& of,
                                          float factor, float* dlogits);

// A part of `rows` rows, x[r * stride + j], at most 512 columns.
struct LogitTile {
  const float* x;
  int64_t stride, rows, cols;
};
// products_r = Σ_j e^t·t for t = x_j − largest_r, which entropies need; may be null.
using ExpSumsFunction = void(const LogitTile& tile, float* largest, float* sums, float* products);
using SoftmaxSumOfPartsFunction = SoftmaxSum(const float* largest, const float* sums, int64_t parts);

// For drawing a token, of each run of `run` logits: largest_i = max_j x_j and weights_i = Σ_j e^((x_j − largest_i) · factor), 0 where
// all are −∞.
struct LogitRuns {
  const float* x;
  int64_t cols, run;
  float factor;
};
using WeighRunsFunction = void(const LogitRuns& row, float* largest, float* weights);

namespace scalar {
SoftmaxSumFunction softmax_sum;
ExpSumsFunction exp_sums;
SoftmaxSumOfPartsFunction softmax_sum_of_parts;
CrossEntropyGradientFunction cross_entropy_gradient;
WeighRunsFunction weigh_runs;
}  // namespace scalar
MBOK_DECLARE_VECTOR(
SoftmaxSumFunction softmax_sum;
ExpSumsFunction exp_sums;
SoftmaxSumOfPartsFunction softmax_sum_of_parts;
CrossEntropyGradientFunction cross_entropy_gradient;
WeighRunsFunction weigh_runs;
)

extern const KernelTable<SoftmaxSumFunction> softmax_sum_table;
extern const KernelTable<ExpSumsFunction> exp_sums_table;
extern const KernelTable<SoftmaxSumOfPartsFunction> softmax_sum_of_parts_table;
extern const KernelTable<CrossEntropyGradientFunction> cross_entropy_gradient_table;
extern const KernelTable<WeighRunsFunction> weigh_runs_table;

// log Σ_j e^x_j.
double log_sum(const SoftmaxSum& of);
// The loss of a token with this logit.
double cross_entropy_of(const SoftmaxSum& of, float logit);

}  // namespace mbok
