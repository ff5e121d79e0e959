// One sweep of coordinate descent over the signs of X, whose rows are coupled by a metric H. It lowers tr(Xᵀ H X G) −
// 2 tr(Xᵀ M), whose half gradient is H X G − M. Rows in order, each as in sign_sweep.h with the weight H_jj; then the
// gradients of the rows below see what was flipped.
//
// kRows rows at a time: two products give their gradients, (H X) and then (H X) G, so that what a flip does to rows further
// below comes from the products of later blocks. A sweep is 2 n² r + 2 n r² operations in products, in parallel. Flips
// and updates within a block, on one thread, are less than a tenth of that.
//
// inputs gram G [r, r] and metric H [n, n], symmetric, moments M [n, r]; in place x [n, r]
#include <algorithm>

#include "operations/product.h"
#include "operations/scratch.h"
#include "operations/sign_sweep.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr int64_t kRows = 64;

void check(const Call& call) {
  expect_counts(call, 3, 1, 0);
  const int64_t n = call.output(0).rows, r = call.output(0).cols;
  expect_tensor(call, call.input(0), "gram", TensorType::kF32, r, r);
  expect_tensor(call, call.input(1), "metric", TensorType::kF32, n, n);
  expect_tensor(call, call.input(2), "moments", TensorType::kF32, n, r);
  expect_tensor(call, call.output(0), "x", TensorType::kF32, n, r);
}

ProductShape metric_times_x(int64_t rows, int64_t n, int64_t r) { return {rows, r, n, n, r, r, false, true, false}; }
ProductShape times_gram(int64_t rows, int64_t r) { return {rows, r, r, r, r, r, false, true, false}; }

struct Parts {
  Parts(int64_t n, int64_t r, int threads, Scratch& scratch)
      : image(scratch.take<float>(kRows * r)),
        gradient(scratch.take<float>(kRows * r)),
        before(scratch.take<float>(r)),
        product(scratch.take<std::byte>(static_cast<int64_t>(
            std::max(product_scratch(metric_times_x(kRows, n, r), Precision::kF32, threads),
                     product_scratch(times_gram(kRows, r), Precision::kF32, threads))))) {}

  float *image, *gradient;  // of the block
  float* before;            // the gradient of a row before its flips
  std::byte* product;
};

size_t scratch_bytes(const Call& call, int threads) {
  Scratch scratch(nullptr);
  const Parts parts(call.output(0).rows, call.output(0).cols, threads, scratch);
  return scratch.used();
}

void run(const Call& call) {
  const int64_t n = call.output(0).rows, r = call.output(0).cols;
  ThreadPool& pool = *call.pool;
  Scratch scratch(call.scratch);
  const Parts parts(n, r, pool.threads(), scratch);
  const float *const gram = call.input(0).f32(), *const metric = call.input(1).f32();
  const float* const moments = call.input(2).f32();
  float* const x = call.output(0).f32();
  for (int64_t first = 0; first < n; first += kRows) {
    const int64_t rows = std::min(kRows, n - first);
    product(pool, metric + first * n, x, parts.image, metric_times_x(rows, n, r), Precision::kF32, parts.product);
    product(pool, parts.image, gram, parts.gradient, times_gram(rows, r), Precision::kF32, parts.product);
    for (int64_t i = 0; i < rows * r; ++i) parts.gradient[i] -= moments[first * r + i];
    for (int64_t j = 0; j < rows; ++j) {
      const float* const weights = metric + (first + j) * n + first;
      float* const gradient = parts.gradient + j * r;
      if (!(weights[j] > 0)) continue;
      std::copy(gradient, gradient + r, parts.before);
      sweep_signs(gram, weights[j], r, x + (first + j) * r, gradient);
      for (int64_t below = j + 1; below < rows; ++below) {
        const float share = weights[below] / weights[j];
        float* const other = parts.gradient + below * r;
        for (int64_t k = 0; k < r; ++k) other[k] += share * (gradient[k] - parts.before[k]);
      }
    }
  }
}

}  // namespace

extern const Operation coupled_sign_descent_operation;
const Operation coupled_sign_descent_operation = {"coupled_sign_descent", check, scratch_bytes, run, false};

}  // namespace mbok
