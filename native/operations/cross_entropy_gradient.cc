// dlogits = dloss / counted rows · (softmax(logits) − onehot(target)), 0 in rows that are not counted (target −1).
// dlogits may be logits.
#include <cstring>

#include "kernels/cross_entropy/cross_entropy.h"
#include "operations/token_ids.h"
#include "operations/rows.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 3, 1, 0);
  const Tensor& logits = call.input(0);
  expect(call, logits.cols >= 1, "'logits' must have a column");
  expect_tensor(call, logits, "logits", TensorType::kF32, logits.rows, logits.cols);
  expect_tensor(call, call.input(1), "targets", TensorType::kI32, logits.rows, 1);
  expect_tensor(call, call.input(2), "dloss", TensorType::kF32, 1, 1);
  expect_tensor(call, call.output(0), "dlogits", TensorType::kF32, logits.rows, logits.cols);
}

size_t scratch_bytes(const Call& call, int) { return ids_bytes(call.input(1)); }

void run(const Call& call) {
  const Tensor& logits = call.input(0);
  const int64_t cols = logits.cols;
  const int32_t* const targets = checked_ids(call.input(1), cols, -1, call.scratch);
  int64_t counted = 0;
  for (int64_t r = 0; r < logits.rows; ++r) counted += targets[r] >= 0;
  const float factor = call.input(2).f32()[0] / static_cast<float>(counted > 0 ? counted : 1);
  for_row_tasks(*call.pool, split_rows(logits.rows, cols), [&](int64_t first, int64_t count) {
    for (int64_t r = first; r < first + count; ++r) {
      const int64_t target = targets[r];
      const float* const from = logits.f32() + r * cols;
      float* to = call.output(0).f32() + r * cols;
      if (target < 0)
        std::memset(to, 0, static_cast<size_t>(cols) * sizeof(float));
      else
        cross_entropy_gradient_table.best()(from, cols, target, softmax_sum_table.best()(from, cols), factor, to);
    }
  });
}

}  // namespace

extern const Operation cross_entropy_gradient_operation;
const Operation cross_entropy_gradient_operation = {"cross_entropy_gradient", check, scratch_bytes, run, false};

}  // namespace mbok
