// loss = mean over counted rows (target ≥ 0) of −log softmax(logits)[target]. The output nll (value per row) is
// optional.
#include "kernels/cross_entropy/cross_entropy.h"

#include "operations/token_ids.h"
#include "operations/rows.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts_between(call, 2, 2, 1, 2, 0);
  const Tensor& logits = call.input(0);
  expect(call, logits.cols >= 1, "'logits' must have a column");
  expect_tensor(call, logits, "logits", TensorType::kF32, logits.rows, logits.cols);
  expect_tensor(call, call.input(1), "targets", TensorType::kI32, logits.rows, 1);
  expect_tensor(call, call.output(0), "loss", TensorType::kF32, 1, 1);
  if (call.has_output(1)) expect_tensor(call, call.output(1), "nll", TensorType::kF32, logits.rows, 1);
}

// The targets, then a value per row.
size_t scratch_bytes(const Call& call, int) {
  return ids_bytes(call.input(1)) + static_cast<size_t>(call.input(0).rows) * sizeof(double);
}

void run(const Call& call) {
  const Tensor& logits = call.input(0);
  const int32_t* const targets = checked_ids(call.input(1), logits.cols, -1, call.scratch);
  double* values = reinterpret_cast<double*>(call.scratch + ids_bytes(call.input(1)));
  for_row_tasks(*call.pool, split_rows(logits.rows, logits.cols), [&](int64_t first, int64_t count) {
    for (int64_t r = first; r < first + count; ++r) {
      const int64_t target = targets[r];
      const float* const row = logits.f32() + r * logits.cols;
      values[r] = target < 0 ? 0 : cross_entropy_of(softmax_sum_table.best()(row, logits.cols), row[target]);
    }
  });
  double sum = 0;
  int64_t counted = 0;
  for (int64_t r = 0; r < logits.rows; ++r) {
    sum += values[r];
    counted += targets[r] >= 0;
    if (call.has_output(1)) call.output(1).f32()[r] = static_cast<float>(values[r]);
  }
  call.output(0).f32()[0] = counted > 0 ? static_cast<float>(sum / static_cast<double>(counted)) : 0;
}

}  // namespace

extern const Operation cross_entropy_operation;
const Operation cross_entropy_operation = {"cross_entropy", check, scratch_bytes, run, false};

}  // namespace mbok
