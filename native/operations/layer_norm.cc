// y = LayerNorm(x) ⊙ w + b, row by row; b is optional. Attribute: eps.
#include "kernels/layer_norm/layer_norm.h"

#include "operations/rows.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts_between(call, 2, 3, 1, 1, 1);
  const Tensor& x = call.input(0);
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, call.input(1), "w", TensorType::kF32, 1, x.cols);
  if (call.has_input(2)) expect_tensor(call, call.input(2), "b", TensorType::kF32, 1, x.cols);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, x.rows, x.cols);
}

void run(const Call& call) {
  const Tensor& x = call.input(0);
  const float* w = call.input(1).f32();
  const float* b = call.has_input(2) ? call.input(2).f32() : nullptr;
  const float eps = static_cast<float>(call.attribute(0));
  for_row_tasks(*call.pool, split_rows(x.rows, x.cols), [&](int64_t first, int64_t count) {
    const int64_t at = first * x.cols;
    layer_norm_table.best()(x.f32() + at, w, b, call.output(0).f32() + at, count, x.cols, eps);
  });
}

}  // namespace

extern const Operation layer_norm_operation;
const Operation layer_norm_operation = {"layer_norm", check, nullptr, run, false};

}  // namespace mbok
