// Cross-entropy in terms of Vec; included by avx2.cc, avx512.cc and neon.cc inside their namespaces.

namespace {
#include "kernels/simd/softmax_body.h"
}  // namespace

double cross_entropy(const float* logits, int64_t cols, int64_t target) {
  const float largest = row_max(logits, cols);
  const double sum = row_sum_of_exp(logits, cols, largest);
  return __builtin_log(sum) + (static_cast<double>(largest) - static_cast<double>(logits[target]));
}

void cross_entropy_gradient(const float* logits, int64_t cols, int64_t target, float factor, float* dlogits) {
  const float largest = row_max(logits, cols);
  const Vec shift = broadcast(largest);
  const Vec scale = broadcast(static_cast<float>(factor / row_sum_of_exp(logits, cols, largest)));
  int64_t j = 0;
  for (; j + kLanes <= cols; j += kLanes) store(dlogits + j, exp(load(logits + j) - shift) * scale);
  if (j < cols) store_n(dlogits + j, exp(load_n(logits + j, cols - j) - shift) * scale, cols - j);
  dlogits[target] -= factor;
}
