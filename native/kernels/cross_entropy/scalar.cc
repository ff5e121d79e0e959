#include <cmath>

#include "kernels/cross_entropy/cross_entropy.h"

namespace mbok::scalar {

SoftmaxSum softmax_sum(const float* x, int64_t cols) {
  SoftmaxSum of = {x[0], 0};
  for (int64_t j = 1; j < cols; ++j) of.largest = x[j] > of.largest ? x[j] : of.largest;
  for (int64_t j = 0; j < cols; ++j) of.sum += std::exp(static_cast<double>(x[j]) - of.largest);
  return of;
}

void exp_sums(const LogitTile& tile, float* largest, float* sums, float* products) {
  for (int64_t r = 0; r < tile.rows; ++r) {
    const float* const x = tile.x + r * tile.stride;
    const SoftmaxSum of = softmax_sum(x, tile.cols);
    const bool none = of.largest == -INFINITY;
    largest[r] = of.largest;
    sums[r] = none ? 0 : static_cast<float>(of.sum);
    if (products == nullptr) continue;
    double product = 0;
    for (int64_t j = 0; j < tile.cols && !none; ++j) {
      const double t = static_cast<double>(x[j]) - of.largest;
      product += x[j] == -INFINITY ? 0 : std::exp(t) * t;
    }
    products[r] = static_cast<float>(product);
  }
}

SoftmaxSum softmax_sum_of_parts(const float* largest, const float* sums, int64_t parts) {
  SoftmaxSum of = {largest[0], 0};
  for (int64_t i = 1; i < parts; ++i) of.largest = largest[i] > of.largest ? largest[i] : of.largest;
  for (int64_t i = 0; i < parts; ++i) of.sum += sums[i] * std::exp(static_cast<double>(largest[i]) - of.largest);
  return of;
}

void cross_entropy_gradient(const float* logits, int64_t cols, int64_t target, const SoftmaxSum& of, float factor,
                            float* dlogits) {
  for (int64_t j = 0; j < cols; ++j) {
    const double p = std::exp(static_cast<double>(logits[j]) - of.largest) / of.sum;
    dlogits[j] = static_cast<float>(factor * (p - (j == target ? 1 : 0)));
  }
}

void weigh_runs(const LogitRuns& row, float* largest, float* weights) {
  for (int64_t begin = 0; begin < row.cols; begin += row.run) {
    const int64_t end = row.cols - begin < row.run ? row.cols : begin + row.run, i = begin / row.run;
    largest[i] = row.x[begin];
    for (int64_t j = begin; j < end; ++j) largest[i] = row.x[j] > largest[i] ? row.x[j] : largest[i];
    const double shift = largest[i] == -INFINITY ? 0 : largest[i];
    double sum = 0;
    for (int64_t j = begin; j < end; ++j) sum += std::exp((static_cast<double>(row.x[j]) - shift) * row.factor);
    weights[i] = static_cast<float>(sum);
  }
}

}  // namespace mbok::scalar
