// Divides every row of x by the root mean square of the same row of h; zero rows of h divide by 1. The weight of a
// token in sums over tokens then no longer grows with its hidden state, of which the next norm sees only the direction.
//
// inputs x [R, n], h [R, w]; output y [R, n] (may be the same memory as x)
#include <cmath>

#include "kernels/dot/dot.h"
#include "operations/rows.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 2, 1, 0);
  const Tensor& x = call.input(0);
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, call.input(1), "h", TensorType::kF32, x.rows, call.input(1).cols);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, x.rows, x.cols);
}

void run(const Call& call) {
  const int64_t n = call.input(0).cols, width = call.input(1).cols;
  const float* x = call.input(0).f32();
  const float* h = call.input(1).f32();
  float* y = call.output(0).f32();
  for_row_tasks(*call.pool, split_rows(call.input(0).rows, n + width), [=](int64_t first, int64_t count) {
    for (int64_t i = first; i < first + count; ++i) {
      const double squares = dot_table.best()(h + i * width, h + i * width, width);
      const float factor = squares > 0 ? static_cast<float>(1 / std::sqrt(squares / static_cast<double>(width))) : 1.0f;
      for (int64_t j = 0; j < n; ++j) y[i * n + j] = factor * x[i * n + j];
    }
  });
}

}  // namespace

extern const Operation relative_rows_operation;
const Operation relative_rows_operation = {"relative_rows", check, nullptr, run, false};

}  // namespace mbok
