// One row of KL(teacher ‖ student) at temperature 1: Σ_j p_j (log p_j − log q_j) with p, q the softmaxes of the
// teacher's logits t and the student's s; and its gradient times `factor`: factor · (q − p).
//
// With t and s relative to their maxima, Σ_j p_j (t_j − s_j) − log Σ e^t + log Σ e^s: one pass gives all three sums
// (f32 over runs of 512 elements, the runs in f64). Any alignment. Compute bound: two exponentials an element.
#pragma once

#include <cstdint>

#include "kernels/cross_entropy/cross_entropy.h"
#include "runtime/dispatch.h"

namespace mbok {

// With the sums that the gradient needs too.
struct Divergence {
  double value;
  SoftmaxSum student, teacher;
};
using KlDivergenceFunction = Divergence(const float* student, const float* teacher, int64_t cols);
// Of a row or a part of one; gives the part's Σ_j e^(t_j − largest)·((t_j − largest) − (s_j − largest)), each relative to its own
// row's largest. `of`: what is known of the row. dstudent may be student.
using KlDivergenceGradientFunction = double(const float* student, const float* teacher, int64_t cols,
                                            const Divergence& of, float factor, float* dstudent);

// The value, from the sum that the parts' gradients give and those of both rows.
double divergence_of(double cross, const SoftmaxSum& student, const SoftmaxSum& teacher);

namespace scalar {
KlDivergenceFunction kl_divergence;
KlDivergenceGradientFunction kl_divergence_gradient;
}  // namespace scalar
MBOK_DECLARE_VECTOR(
KlDivergenceFunction kl_divergence;
KlDivergenceGradientFunction kl_divergence_gradient;
)

extern const KernelTable<KlDivergenceFunction> kl_divergence_table;
extern const KernelTable<KlDivergenceGradientFunction> kl_divergence_gradient_table;

}  // namespace mbok
