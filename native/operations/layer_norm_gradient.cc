// dx, dw and db of layer_norm. Every task sums its rows of dw and db into partial sums, which are then added in order.
#include <cstring>

#include "kernels/layer_norm/layer_norm.h"
#include "operations/rows.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts_between(call, 3, 3, 1, 3, 1);
  const Tensor& x = call.input(1);
  expect_tensor(call, call.input(0), "dy", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, call.input(2), "w", TensorType::kF32, 1, x.cols);
  expect_tensor(call, call.output(0), "dx", TensorType::kF32, x.rows, x.cols);
  if (call.has_output(1)) expect_tensor(call, call.output(1), "dw", TensorType::kF32, 1, x.cols);
  if (call.has_output(2)) expect_tensor(call, call.output(2), "db", TensorType::kF32, 1, x.cols);
}

int64_t partial_floats(const Tensor& x) { return split_rows_for_partials(x.rows, x.cols).tasks() * x.cols; }

size_t scratch_bytes(const Call& call, int) {
  const int64_t sums = (call.has_output(1) ? 1 : 0) + (call.has_output(2) ? 1 : 0);
  return static_cast<size_t>(sums * partial_floats(call.input(1))) * sizeof(float);
}

void run(const Call& call) {
  const Tensor& x = call.input(1);
  const int64_t cols = x.cols;
  const RowSplit split = split_rows_for_partials(x.rows, cols);
  const float eps = static_cast<float>(call.attribute(0));
  float* next = reinterpret_cast<float*>(call.scratch);
  float* partials[2] = {nullptr, nullptr};
  for (int i = 0; i < 2; ++i)
    if (call.has_output(1 + i)) {
      partials[i] = next;
      next += partial_floats(x);
    }
  call.pool->parallel_for(split.tasks(), [&](int64_t task, int) {
    float* own[2] = {nullptr, nullptr};
    for (int i = 0; i < 2; ++i)
      if (partials[i] != nullptr) {
        own[i] = partials[i] + task * cols;
        std::memset(own[i], 0, static_cast<size_t>(cols) * sizeof(float));
      }
    const int64_t at = split.first(task) * cols;
    layer_norm_gradient_table.best()(call.input(0).f32() + at, x.f32() + at, call.input(2).f32(),
                                     call.output(0).f32() + at, own[0], own[1], split.count(task), cols, eps);
  });
  for (int i = 0; i < 2; ++i)
    if (partials[i] != nullptr) add_partials(*call.pool, partials[i], split.tasks(), cols, call.output(1 + i).f32());
}

}  // namespace

extern const Operation layer_norm_gradient_operation;
const Operation layer_norm_gradient_operation = {"layer_norm_gradient", check, scratch_bytes, run, false};

}  // namespace mbok
