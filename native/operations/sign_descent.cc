// One sweep of coordinate descent over the signs of X. It lowers tr(X G Xᵀ) − 2 tr(X Mᵀ), whose half gradient is X G − M.
// Rows are independent, each as in sign_sweep.h with the weight 1.
//   gram G [r, r] symmetric; in place x, gradient = x G − M [m, r]
#include "operations/rows.h"
#include "operations/sign_sweep.h"
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

void run(const Call& call) {
  const int64_t r = call.output(0).cols;
  const float* const gram = call.input(0).f32();
  float *const x = call.output(0).f32(), *const gradient = call.output(1).f32();
  for_row_tasks(*call.pool, split_rows(call.output(0).rows, r), [=](int64_t first, int64_t count) {
    for (int64_t i = first; i < first + count; ++i) sweep_signs(gram, 1, r, x + i * r, gradient + i * r);
  });
}

}  // namespace

extern const Operation sign_descent_operation;
const Operation sign_descent_operation = {"sign_descent", check, nullptr, run, false};

}  // namespace mbok
