// dx and dw of rms_norm. Attributes: eps, offset. Every task sums its rows of dw into a partial sum, which are then
// added.
#include <cstring>

#include "kernels/rms_norm/rms_norm.h"
#include "operations/norm_weight.h"
#include "operations/rows.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts_between(call, 3, 3, 1, 2, 2);
  const Tensor& x = call.input(1);
  expect_tensor(call, call.input(0), "dy", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, x.cols);
  expect_norm_weight(call, x, call.input(2));
  expect_tensor(call, call.output(0), "dx", TensorType::kF32, x.rows, x.cols);
  if (call.has_output(1)) expect_tensor(call, call.output(1), "dw", TensorType::kF32, 1, call.input(2).cols);
}

// Every group of columns is a row for the kernel function.
RowSplit split_groups(const Call& call) {
  const int64_t cols = call.input(2).cols;
  return split_rows_for_partials(call.input(1).size() / cols, cols);
}

size_t scratch_bytes(const Call& call, int) {
  const int64_t cols = call.input(2).cols;
  if (!call.has_output(1)) return 0;
  return static_cast<size_t>(split_groups(call).tasks() * cols) * sizeof(float);
}

void run(const Call& call) {
  const Tensor& x = call.input(1);
  const int64_t cols = call.input(2).cols;
  const RowSplit split = split_groups(call);
  const float eps = static_cast<float>(call.attribute(0)), offset = static_cast<float>(call.attribute(1));
  float* partials = call.has_output(1) ? reinterpret_cast<float*>(call.scratch) : nullptr;
  call.pool->parallel_for(split.tasks(), [&](int64_t task, int) {
    float* dw = partials == nullptr ? nullptr : partials + task * cols;
    if (dw != nullptr) std::memset(dw, 0, static_cast<size_t>(cols) * sizeof(float));
    const int64_t at = split.first(task) * cols;
    rms_norm_gradient_table.best()(call.input(0).f32() + at, x.f32() + at, call.input(2).f32(),
                                   call.output(0).f32() + at, dw, split.count(task), cols, eps, offset);
  });
  if (partials != nullptr) add_partials(*call.pool, partials, split.tasks(), cols, call.output(1).f32());
}

}  // namespace

extern const Operation rms_norm_gradient_operation;
const Operation rms_norm_gradient_operation = {"rms_norm_gradient", check, scratch_bytes, run, false};

}  // namespace mbok
