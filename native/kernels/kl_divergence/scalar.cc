#include <cmath>

#include "kernels/kl_divergence/kl_divergence.h"

namespace mbok::scalar {
namespace {

double probability(const SoftmaxSum& of, float x) { return std::exp(static_cast<double>(x) - of.largest) / of.sum; }

}  // namespace

Divergence kl_divergence(const float* student, const float* teacher, int64_t cols) {
  Divergence of = {0, softmax_sum(student, cols), softmax_sum(teacher, cols)};
  for (int64_t j = 0; j < cols; ++j)
    of.value += probability(of.teacher, teacher[j]) *
                (cross_entropy_of(of.student, student[j]) - cross_entropy_of(of.teacher, teacher[j]));
  return of;
}

double kl_divergence_gradient(const float* student, const float* teacher, int64_t cols, const Divergence& of,
                              float factor, float* dstudent) {
  double cross = 0;
  for (int64_t j = 0; j < cols; ++j) {
    const double s = static_cast<double>(student[j]) - of.student.largest;
    const double t = static_cast<double>(teacher[j]) - of.teacher.largest;
    cross += std::exp(t) == 0 ? 0 : std::exp(t) * (t - s);
    dstudent[j] = static_cast<float>(factor * (std::exp(s) / of.student.sum - std::exp(t) / of.teacher.sum));
  }
  return cross;
}

}  // namespace mbok::scalar
