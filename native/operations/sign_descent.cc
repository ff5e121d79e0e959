// One sweep of coordinate descent over the signs of X. It lowers tr(X G Xᵀ) − 2 tr(X Mᵀ), whose half gradient is X G − M.
// Columns k in order: flip x_ik if x_ik · gradient_ik > x_ik² G_kk, which lowers the sum; then gradient_i += 2 x_ik G_k.
// Rows are independent.
//   gram G [r, r] symmetric; in place x, gradient = x G − M [m, r]
#include "operations/rows.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 1, 2, 0);
  const int64_t m = call.output(0).rows, r = call.output(0).cols;
  expect_tensor(call, call.input(0), "gram", TensorType::kF32, r, r);
  expect_tensor(call, call.output(0), "x", TensorType::kF32, m, r);
  expect_tensor(call, call.output(1), "gradient", TensorType::kF32, m, r);
}

void sweep(const float* gram, int64_t r, float* x, float* gradient) {
  for (int64_t k = 0; k < r; ++k) {
    if (!(x[k] * gradient[k] > x[k] * x[k] * gram[k * r + k])) continue;
    x[k] = -x[k];
    const float change = 2 * x[k];
    for (int64_t l = 0; l < r; ++l) gradient[l] += change * gram[k * r + l];
  }
}

void run(const Call& call) {
  const int64_t r = call.output(0).cols;
  const float* const gram = call.input(0).f32();
  float *const x = call.output(0).f32(), *const gradient = call.output(1).f32();
  for_row_tasks(*call.pool, split_rows(call.output(0).rows, r), [=](int64_t first, int64_t count) {
    for (int64_t i = first; i < first + count; ++i) sweep(gram, r, x + i * r, gradient + i * r);
  });
}

}  // namespace

extern const Operation sign_descent_operation;
const Operation sign_descent_operation = {"sign_descent", check, nullptr, run, false};

}  // namespace mbok
