// dots[0, i] = Σⱼ x_ij y_ij, summed in f64.
//   x, y [m, n] → dots [1, m]
#include "kernels/dot/dot.h"
#include "operations/rows.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 2, 1, 0);
  const Tensor& x = call.input(0);
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, call.input(1), "y", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, call.output(0), "dots", TensorType::kF32, 1, x.rows);
}

void run(const Call& call) {
  const int64_t n = call.input(0).cols;
  const float *const x = call.input(0).f32(), *const y = call.input(1).f32();
  float* const dots = call.output(0).f32();
  for_row_tasks(*call.pool, split_rows(call.input(0).rows, n), [=](int64_t first, int64_t count) {
    for (int64_t i = first; i < first + count; ++i)
      dots[i] = static_cast<float>(dot_table.best()(x + i * n, y + i * n, n));
  });
}

}  // namespace

extern const Operation row_dots_operation;
const Operation row_dots_operation = {"row_dots", check, nullptr, run, false};

}  // namespace mbok
