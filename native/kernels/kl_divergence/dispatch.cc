#include "kernels/kl_divergence/kl_divergence.h"
#include "kernels/simd/target.h"

#include <cmath>

namespace mbok {

double divergence_of(double cross, const SoftmaxSum& student, const SoftmaxSum& teacher) {
  return cross / teacher.sum - std::log(teacher.sum) + std::log(student.sum);
}

const KernelTable<KlDivergenceFunction> kl_divergence_table("kl_divergence", {
    MBOK_VECTOR_CANDIDATES(kl_divergence)
    {"scalar", kNone, scalar::kl_divergence},
});

const KernelTable<KlDivergenceGradientFunction> kl_divergence_gradient_table("kl_divergence_gradient", {
    MBOK_VECTOR_CANDIDATES(kl_divergence_gradient)
    {"scalar", kNone, scalar::kl_divergence_gradient},
});

}  // namespace mbok
