// y = RMSNorm(x) ⊙ (offset + w) for every group of as many columns as w has: one group per row, or one per head (query
// and key norms). Attributes: eps, offset.
#include "kernels/rms_norm/rms_norm.h"

#include "operations/norm_weight.h"
#include "operations/rows.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 2, 1, 2);
  const Tensor& x = call.input(0);
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, x.cols);
  expect_norm_weight(call, x, call.input(1));
  expect_tensor(call, call.output(0), "y", TensorType::kF32, x.rows, x.cols);
}

void run(const Call& call) {
  const Tensor& x = call.input(0);
  const float* w = call.input(1).f32();
  const int64_t cols = call.input(1).cols;
  const float eps = static_cast<float>(call.attribute(0)), offset = static_cast<float>(call.attribute(1));
  for_row_tasks(*call.pool, split_rows(x.size() / cols, cols), [&](int64_t first, int64_t count) {
    const int64_t at = first * cols;
    rms_norm_table.best()(x.f32() + at, w, call.output(0).f32() + at, count, cols, eps, offset);
  });
}

}  // namespace

extern const Operation rms_norm_operation;
const Operation rms_norm_operation = {"rms_norm", check, nullptr, run, false};

}  // namespace mbok
