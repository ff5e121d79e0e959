// Cross-entropy in terms of Vec. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces.

namespace {
#include "kernels/simd/softmax_body.h"
}  // namespace

void exp_sums(const LogitTile& tile, float* largest, float* sums, float* products) {
  for (int64_t r = 0; r < tile.rows; ++r) {
    const float* const x = tile.x + r * tile.stride;
    largest[r] = row_max(x, tile.cols);
    if (largest[r] == -__builtin_inff()) {
      sums[r] = 0;
      if (products != nullptr) products[r] = 0;
      continue;
    }
    if (products == nullptr) {
      sums[r] = static_cast<float>(row_sum_of_exp(x, tile.cols, largest[r]));
      continue;
    }
    const Vec shift = broadcast(largest[r]);
    Vec sum = zero(), product = zero();
    for (int64_t j = 0; j < tile.cols; j += kLanes) {
      const int64_t n = tile.cols - j < kLanes ? tile.cols - j : kLanes;
      const Vec t = load_n(x + j, n) - shift, e = select(first_lanes(n), exp(t), zero());
      sum = sum + e;
      product = select(e == zero(), product, fma(e, t, product));  // skips 0 · −∞ where the logit is −∞
    }
    sums[r] = reduce_add(sum);
    products[r] = reduce_add(product);
  }
}

SoftmaxSum softmax_sum_of_parts(const float* largest, const float* sums, int64_t parts) {
  SoftmaxSum of = {row_max(largest, parts), 0};
  const Vec shift = broadcast(of.largest);
  for (int64_t i = 0; i < parts; i += kLanes) {
    const int64_t n = parts - i < kLanes ? parts - i : kLanes;
    const Vec terms = load_n(sums + i, n) * exp(load_n(largest + i, n) - shift);
    of.sum += static_cast<double>(reduce_add(select(first_lanes(n), terms, zero())));
  }
  return of;
}

SoftmaxSum softmax_sum(const float* logits, int64_t cols) {
  const float largest = row_max(logits, cols);
  return {largest, row_sum_of_exp(logits, cols, largest)};
}

void cross_entropy_gradient(const float* logits, int64_t cols, int64_t target, const SoftmaxSum& of, float factor,
                            float* dlogits) {
  const Vec shift = broadcast(of.largest);
  const Vec scale = broadcast(static_cast<float>(factor / of.sum));
  int64_t j = 0;
  for (; j + kLanes <= cols; j += kLanes) store(dlogits + j, exp(load(logits + j) - shift) * scale);
  if (j < cols) store_n(dlogits + j, exp(load_n(logits + j, cols - j) - shift) * scale, cols - j);
  if (target >= 0 && target < cols) dlogits[target] -= factor;
}

void weigh_runs(const LogitRuns& row, float* largest, float* weights) {
  const Vec factor = broadcast(row.factor);
  for (int64_t begin = 0; begin < row.cols; begin += row.run, ++largest, ++weights) {
    const int64_t cols = row.cols - begin < row.run ? row.cols - begin : row.run;
    const float* const x = row.x + begin;
    *largest = row_max(x, cols);
    const Vec shift = broadcast(*largest == -__builtin_inff() ? 0.0f : *largest);  // −∞ − −∞ would be NaN
    Vec sum = zero();
    for (int64_t j = 0; j < cols; j += kLanes) {
      const int64_t n = cols - j < kLanes ? cols - j : kLanes;
      sum = sum + select(first_lanes(n), exp((load_n(x + j, n) - shift) * factor), zero());
    }
    *weights = reduce_add(sum);
  }
}
