// Cross-entropy of one row of logits: −log softmax(x)_target = logsumexp(x) − x_target, and its gradient times
// `factor`: factor · (softmax(x) − onehot(target)).
//
// A row that is never in cache as a whole is processed in parts: largest_i = max_j x_j and sum_i = Σ_j e^(x_j −
// largest_i) over part i (0 if all are −∞). The row's sum is Σ_i sum_i·e^(largest_i − largest).
//
// Numerics. Vector versions subtract the maximum and sum exponentials in f32 over runs of 512 elements, the runs in
// f64, so a vocabulary of 10⁵ loses no precision. Any alignment.
//
// Budget. An exponential costs about 16 operations per vector: compute-bound while L2 holds the logits.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

// sum = Σ_j e^(x_j − largest), largest = max_j x_j: needed by both the loss and its gradient.
struct SoftmaxSum {
  float largest;
  double sum;
};
using SoftmaxSumFunction = SoftmaxSum(const float* logits, int64_t cols);
// Gradient of a row or of a part of one. `of`: softmax_sum of the whole row. A target outside of [0, cols) lies in
// another part. dlogits may be logits.
using CrossEntropyGradientFunction = void(const float* logits, int64_t cols, int64_t target, const SoftmaxSum& of,
                                          float factor, float* dlogits);

// A part of `rows` rows, x[r * stride + j], of at most 512 columns.
struct LogitTile {
  const float* x;
  int64_t stride, rows, cols;
};
// products_r = Σ_j e^t·t with t = x_j − largest_r, which entropies need; products may be null.
using ExpSumsFunction = void(const LogitTile& tile, float* largest, float* sums, float* products);
using SoftmaxSumOfPartsFunction = SoftmaxSum(const float* largest, const float* sums, int64_t parts);

// For sampling: largest_i = max_j x_j and weights_i = Σ_j e^((x_j − largest_i) · factor) over each run of `run` logits,
// 0 if all are −∞.
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
MBOK_DECLARE_VECTOR(SoftmaxSumFunction softmax_sum; ExpSumsFunction exp_sums;
                    SoftmaxSumOfPartsFunction softmax_sum_of_parts; CrossEntropyGradientFunction cross_entropy_gradient;
                    WeighRunsFunction weigh_runs;)

extern const KernelTable<SoftmaxSumFunction> softmax_sum_table;
extern const KernelTable<ExpSumsFunction> exp_sums_table;
extern const KernelTable<SoftmaxSumOfPartsFunction> softmax_sum_of_parts_table;
extern const KernelTable<CrossEntropyGradientFunction> cross_entropy_gradient_table;
extern const KernelTable<WeighRunsFunction> weigh_runs_table;

// Returns log Σ_j e^x_j.
double log_sum(const SoftmaxSum& of);
// Returns the loss of a token with this logit.
double cross_entropy_of(const SoftmaxSum& of, float logit);

}  // namespace mbok
