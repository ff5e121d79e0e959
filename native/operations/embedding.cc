// y[r] = table[ids[r]].
#include <cstring>

#include "operations/token_ids.h"
#include "operations/rows.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 2, 1, 0);
  const Tensor& table = call.input(0);
  const Tensor& ids = call.input(1);
  expect_tensor(call, table, "table", TensorType::kF32, table.rows, table.cols);
  expect_tensor(call, ids, "ids", TensorType::kI32, ids.rows, 1);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, ids.rows, table.cols);
}

size_t scratch_bytes(const Call& call, int) { return ids_bytes(call.input(1)); }

void run(const Call& call) {
  const Tensor& table = call.input(0);
  const int64_t cols = table.cols;
  const int32_t* const ids = checked_ids(call.input(1), table.rows, 0, call.scratch);
  for_row_tasks(*call.pool, split_rows(call.input(1).rows, cols), [&](int64_t first, int64_t count) {
    for (int64_t r = first; r < first + count; ++r)
      std::memcpy(call.output(0).f32() + r * cols, table.f32() + ids[r] * cols,
                  static_cast<size_t>(cols) * sizeof(float));
  });
}

}  // namespace

extern const Operation embedding_operation;
const Operation embedding_operation = {"embedding", check, scratch_bytes, run, false};

}  // namespace mbok
