// Cross-entropy in terms of Vec; included by avx2.cc, avx512.cc and neon.cc inside their namespaces.

namespace {
#include "kernels/simd/softmax_body.h"
}  // namespace

void exp_sums(const LogitTile& tile, float* largest, float* sums) {
  for (int64_t r = 0; r < tile.rows; ++r) {
    const float* const x = tile.x + r * tile.stride;
    largest[r] = row_max(x, tile.cols);
    sums[r] = largest[r] == -__builtin_inff() ? 0 : static_cast<float>(row_sum_of_exp(x, tile.cols, largest[r]));
  }
}

double log_sum_of_parts(const float* largest, const float* sums, int64_t parts) {
  const float most = row_max(largest, parts);
  const Vec shift = broadcast(most);
  double total = 0;
  for (int64_t i = 0; i < parts; i += kLanes) {
    const int64_t n = parts - i < kLanes ? parts - i : kLanes;
    const Vec terms = load_n(sums + i, n) * exp(load_n(largest + i, n) - shift);
    total += static_cast<double>(reduce_add(select(first_lanes(n), terms, zero())));
  }
  return static_cast<double>(most) + __builtin_log(total);
}

LogProbabilities log_probabilities(const float* x, int64_t cols) {
  const float largest = row_max(x, cols);
  const Vec shift = broadcast(largest);
  double total = 0, products = 0;
  for (int64_t run = 0; run < cols; run += kSumRun) {
    const int64_t end = cols - run < kSumRun ? cols : run + kSumRun;
    Vec sum = zero(), product = zero();
    for (int64_t j = run; j < end; j += kLanes) {
      const int64_t n = end - j < kLanes ? end - j : kLanes;
      const Vec t = load_n(x + j, n) - shift, e = select(first_lanes(n), exp(t), zero());
      sum = sum + e;
      product = select(e == zero(), product, fma(e, t, product));  // also where the logit is −∞
    }
    total += static_cast<double>(reduce_add(sum));
    products += static_cast<double>(reduce_add(product));
  }
  const double log_total = __builtin_log(total);
  return {static_cast<double>(largest) + log_total, products / total - log_total};
}

SoftmaxSum softmax_sum(const float* logits, int64_t cols) {
  const float largest = row_max(logits, cols);
  return {largest, row_sum_of_exp(logits, cols, largest)};
}

double cross_entropy(const float* logits, int64_t cols, int64_t target) {
  return cross_entropy_of(softmax_sum(logits, cols), logits[target]);
}

void cross_entropy_gradient(const float* logits, int64_t cols, int64_t target, const SoftmaxSum& of, float factor,
                            float* dlogits) {
  const Vec shift = broadcast(of.largest);
  const Vec scale = broadcast(static_cast<float>(factor / of.sum));
  int64_t j = 0;
  for (; j + kLanes <= cols; j += kLanes) store(dlogits + j, exp(load(logits + j) - shift) * scale);
  if (j < cols) store_n(dlogits + j, exp(load_n(logits + j, cols - j) - shift) * scale, cols - j);
  dlogits[target] -= factor;
}
