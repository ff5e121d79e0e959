// y[r] = table[ids[r]], in f32.
//   table [V,h] (any type of weights.h), ids i32 [R,1], scales? [V,1] → y [R,h]
#include "operations/rows.h"
#include "operations/token_ids.h"
#include "operations/weights.h"

namespace mbok {
namespace {

constexpr int kTable = 0, kScales = 2;

void check(const Call& call) {
  expect_counts_between(call, 2, 3, 1, 1, 0);
  const Tensor& table = call.input(kTable);
  const Tensor& ids = call.input(1);
  expect_weights(call, kTable, kScales, "table");
  expect_tensor(call, ids, "ids", TensorType::kI32, ids.rows, 1);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, ids.rows, table.cols);
}

size_t scratch_bytes(const Call& call, int) { return ids_bytes(call.input(1)); }

void run(const Call& call) {
  const Weights table(call, kTable, kScales);
  const int64_t cols = table.cols();
  const int32_t* const ids = checked_ids(call.input(1), table.rows(), 0, call.scratch);
  for_row_tasks(*call.pool, split_rows(call.input(1).rows, cols), [&](int64_t first, int64_t count) {
    for (int64_t r = first; r < first + count; ++r) table.widen(ids[r], 0, cols, call.output(0).f32() + r * cols);
  });
}

}  // namespace

extern const Operation embedding_operation;
const Operation embedding_operation = {"embedding", check, scratch_bytes, run, false};

}  // namespace mbok
