// KL(teacher ‖ student) of one row at temperature 1: Σ_j p_j (log p_j − log q_j), where p and q are the softmaxes of
// the teacher's logits t and the student's s. Gradient times `factor`: factor · (q − p).
//
// With t and s relative to their maxima the value is Σ_j p_j (t_j − s_j) − log Σ e^t + log Σ e^s. After the maxima one
// pass gives all three sums, in f32 over runs of 512 elements, the runs in f64. Any alignment. Compute-bound: two
// exponentials per element.
#pragma once

#include <cstdint>

#include "kernels/cross_entropy/cross_entropy.h"
#include "runtime/dispatch.h"

namespace mbok {

// The value, with the sums that the gradient needs too.
struct Divergence {
  double value;
  SoftmaxSum student, teacher;
};
using KlDivergenceFunction = Divergence(const float* student, const float* teacher, int64_t cols);
// Gradient of a row or of a part of one. Returns the part's Σ_j e^(t_j − t_max)·((t_j − t_max) − (s_j − s_max)), with
// the maxima of the whole rows. `of` holds the rows' sums. dstudent may be student.
using KlDivergenceGradientFunction = double(const float* student, const float* teacher, int64_t cols,
                                            const Divergence& of, float factor, float* dstudent);

// Returns the value from the sum of the parts' results and the sums of both rows.
double divergence_of(double cross, const SoftmaxSum& student, const SoftmaxSum& teacher);

namespace scalar {
KlDivergenceFunction kl_divergence;
KlDivergenceGradientFunction kl_divergence_gradient;
}  // namespace scalar
MBOK_DECLARE_VECTOR(KlDivergenceFunction kl_divergence; KlDivergenceGradientFunction kl_divergence_gradient;)

extern const KernelTable<KlDivergenceFunction> kl_divergence_table;
extern const KernelTable<KlDivergenceGradientFunction> kl_divergence_gradient_table;

}  // namespace mbok
