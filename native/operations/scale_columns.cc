// y_ij = x_ij · (h_jj / mean(diag H) + 1e-6)^power: scales columns by the size of the layer's inputs there. If H is all
// zero, y is x. Scaling the columns of W before a decomposition, and its input scales by the opposite power after it,
// minimizes the weighted error Σ_ij (h_jj)^(2·power) (w_ij − ŵ_ij)².
//
// inputs x [m, n], h [n, n]; output y [m, n] (may be the same memory as x); attribute power
#include <cmath>

#include "operations/rows.h"
#include "operations/scratch.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 2, 1, 1);
  const Tensor& x = call.input(0);
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, call.input(1), "h", TensorType::kF32, x.cols, x.cols);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, x.rows, x.cols);
}

size_t scratch_bytes(const Call& call, int) {
  Scratch scratch(nullptr);
  scratch.take<float>(call.input(0).cols);
  return scratch.used();
}

void run(const Call& call) {
  constexpr double kFloor = 1e-6;  // keeps the column of an input that is always zero
  const int64_t n = call.input(0).cols;
  const float* x = call.input(0).f32();
  const float* h = call.input(1).f32();
  float* y = call.output(0).f32();
  double mean = 0;
  for (int64_t j = 0; j < n; ++j) mean += static_cast<double>(h[j * n + j]) / static_cast<double>(n);
  Scratch scratch(call.scratch);
  float* const factors = scratch.take<float>(n);
  for (int64_t j = 0; j < n; ++j) {
    const double relative = mean > 0 ? static_cast<double>(h[j * n + j]) / mean + kFloor : 1;
    factors[j] = static_cast<float>(std::pow(relative, call.attribute(0)));
  }
  for_row_tasks(*call.pool, split_rows(call.input(0).rows, n), [=](int64_t first, int64_t count) {
    for (int64_t i = first; i < first + count; ++i)
      for (int64_t j = 0; j < n; ++j) y[i * n + j] = factors[j] * x[i * n + j];
  });
}

}  // namespace

extern const Operation scale_columns_operation;
const Operation scale_columns_operation = {"scale_columns", check, scratch_bytes, run, false};

}  // namespace mbok
