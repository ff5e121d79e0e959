// KL divergence in terms of Vec. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces.

namespace {
#include "kernels/simd/softmax_body.h"
}  // namespace

Divergence kl_divergence(const float* student, const float* teacher, int64_t cols) {
  const float s_largest = row_max(student, cols), t_largest = row_max(teacher, cols);
  const Vec s_max = broadcast(s_largest), t_max = broadcast(t_largest);
  double s_total = 0, t_total = 0, cross = 0;
  for (int64_t run = 0; run < cols; run += kSumRun) {
    const int64_t end = cols - run < kSumRun ? cols : run + kSumRun;
    Vec s_sum = zero(), t_sum = zero(), product = zero();
    const auto step = [&](int64_t j, int64_t n) MBOK_INLINE_LAMBDA {
      const Vec s = load_n(student + j, n) - s_max, t = load_n(teacher + j, n) - t_max;
      Vec s_exp = exp(s), t_exp = exp(t);
      if (n < kLanes) {
        s_exp = select(first_lanes(n), s_exp, zero());
        t_exp = select(first_lanes(n), t_exp, zero());
      }
      s_sum = s_sum + s_exp;
      t_sum = t_sum + t_exp;
      // a token with teacher probability 0 adds nothing, even if its logit is −∞
      product = select(t_exp == zero(), product, fma(t_exp, t - s, product));
    };
    int64_t j = run;
    for (; j + kLanes <= end; j += kLanes) step(j, kLanes);
    if (j < end) step(j, end - j);
    s_total += static_cast<double>(reduce_add(s_sum));
    t_total += static_cast<double>(reduce_add(t_sum));
    cross += static_cast<double>(reduce_add(product));
  }
  const SoftmaxSum s = {s_largest, s_total}, t = {t_largest, t_total};
  return {divergence_of(cross, s, t), s, t};
}

double kl_divergence_gradient(const float* student, const float* teacher, int64_t cols, const Divergence& of,
                              float factor, float* dstudent) {
  const Vec s_max = broadcast(of.student.largest), t_max = broadcast(of.teacher.largest);
  const Vec s_scale = broadcast(static_cast<float>(factor / of.student.sum));
  const Vec t_scale = broadcast(static_cast<float>(factor / of.teacher.sum));
  double cross = 0;
  for (int64_t run = 0; run < cols; run += kSumRun) {
    const int64_t end = cols - run < kSumRun ? cols : run + kSumRun;
    Vec product = zero();
    const auto step = [&](int64_t j, int64_t n) MBOK_INLINE_LAMBDA {
      const Vec s = load_n(student + j, n) - s_max, t = load_n(teacher + j, n) - t_max;
      Vec t_exp = exp(t);
      store_n(dstudent + j, fma(exp(s), s_scale, -(t_exp * t_scale)), n);
      if (n < kLanes) t_exp = select(first_lanes(n), t_exp, zero());
      product = select(t_exp == zero(), product, fma(t_exp, t - s, product));
    };
    int64_t j = run;
    for (; j + kLanes <= end; j += kLanes) step(j, kLanes);
    if (j < end) step(j, end - j);
    cross += static_cast<double>(reduce_add(product));
  }
  return cross;
}
