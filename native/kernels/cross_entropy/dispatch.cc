#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/simd/target.h"

#include <cmath>

namespace mbok {

double log_sum(const SoftmaxSum& of) { return static_cast<double>(of.largest) + std::log(of.sum); }

double cross_entropy_of(const SoftmaxSum& of, float logit) {
  return std::log(of.sum) + (static_cast<double>(of.largest) - static_cast<double>(logit));
}

const KernelTable<SoftmaxSumFunction> softmax_sum_table("softmax_sum", {
    MBOK_VECTOR_CANDIDATES(softmax_sum)
    {"scalar", kNone, scalar::softmax_sum},
});

const KernelTable<ExpSumsFunction> exp_sums_table("exp_sums", {
    MBOK_VECTOR_CANDIDATES(exp_sums)
    {"scalar", kNone, scalar::exp_sums},
});

const KernelTable<SoftmaxSumOfPartsFunction> softmax_sum_of_parts_table("softmax_sum_of_parts", {
    MBOK_VECTOR_CANDIDATES(softmax_sum_of_parts)
    {"scalar", kNone, scalar::softmax_sum_of_parts},
});

const KernelTable<CrossEntropyGradientFunction> cross_entropy_gradient_table("cross_entropy_gradient", {
    MBOK_VECTOR_CANDIDATES(cross_entropy_gradient)
    {"scalar", kNone, scalar::cross_entropy_gradient},
});

const KernelTable<WeighRunsFunction> weigh_runs_table("weigh_runs", {
    MBOK_VECTOR_CANDIDATES(weigh_runs)
    {"scalar", kNone, scalar::weigh_runs},
});

}  // namespace mbok
