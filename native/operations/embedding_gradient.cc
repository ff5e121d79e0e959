// dTable[ids[r]] += dy[r], in the order of r; only rows that occur are touched. Tasks own columns, not rows, so one
// thread adds up a repeated id.
#include "operations/token_ids.h"

namespace mbok {
namespace {

constexpr int64_t kColumns = 64;  // four cache lines of a row

void check(const Call& call) {
  expect_counts(call, 2, 1, 0);
  const Tensor& dy = call.input(0);
  const Tensor& table = call.output(0);
  expect_tensor(call, dy, "dy", TensorType::kF32, dy.rows, dy.cols);
  expect_tensor(call, call.input(1), "ids", TensorType::kI32, dy.rows, 1);
  expect_tensor(call, table, "dTable", TensorType::kF32, table.rows, dy.cols);
}

size_t scratch_bytes(const Call& call, int) { return ids_bytes(call.input(1)); }

void run(const Call& call) {
  const Tensor& dy = call.input(0);
  const Tensor& table = call.output(0);
  const int64_t cols = dy.cols;
  const int32_t* const ids = checked_ids(call.input(1), table.rows, 0, call.scratch);
  call.pool->parallel_for((cols + kColumns - 1) / kColumns, [&](int64_t task, int) {
    const int64_t first = task * kColumns, last = first + kColumns < cols ? first + kColumns : cols;
    for (int64_t r = 0; r < dy.rows; ++r) {
      const float* from = dy.f32() + r * cols;
      float* to = table.f32() + ids[r] * cols;
      for (int64_t c = first; c < last; ++c) to[c] += from[c];
    }
  });
}

}  // namespace

extern const Operation embedding_gradient_operation;
const Operation embedding_gradient_operation = {"embedding_gradient", check, scratch_bytes, run, false};

}  // namespace mbok
