// y = x ⊙ w for w [R, n], or by broadcast a row [1, n] or a column [R, 1] of factors. y may be x.
#include "operations/rows.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 2, 1, 0);
  const Tensor &x = call.input(0), &w = call.input(1);
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, x.cols);
  expect(call, (w.rows == x.rows || w.rows == 1) && (w.cols == x.cols || w.cols == 1),
         "'w' must have the rows of 'x' or one, and its columns or one");
  expect_tensor(call, w, "w", TensorType::kF32, w.rows, w.cols);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, x.rows, x.cols);
}

void run(const Call& call) {
  const Tensor &x = call.input(0), &w = call.input(1);
  const int64_t n = x.cols, down = w.rows == 1 ? 0 : w.cols, across = w.cols == 1 ? 0 : 1;
  float* const y = call.output(0).f32();
  for_row_tasks(*call.pool, split_rows(x.rows, n), [&](int64_t first, int64_t count) {
    for (int64_t row = first; row < first + count; ++row)
      for (int64_t j = 0; j < n; ++j) y[row * n + j] = x.f32()[row * n + j] * w.f32()[row * down + j * across];
  });
}

}  // namespace

extern const Operation multiply_operation;
const Operation multiply_operation = {"multiply", check, nullptr, run, false};

}  // namespace mbok
