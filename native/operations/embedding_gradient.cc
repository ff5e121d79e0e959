// dTable[ids[r]] += dy[r], in the order of r; only rows that occur are touched. Tasks own columns, not rows, so one
// thread adds up a repeated id. With marks (table.h) dTable is of the rows of kernels; dense rows have no gradient.
//   dy [R,h], ids i32 [R,1], marks? bits [1,V] → += dTable
#include "operations/table.h"
#include "operations/token_ids.h"

namespace mbok {
namespace {

constexpr int kMarks = 2;
constexpr int64_t kColumns = 64;  // four cache lines of a row

void check(const Call& call) {
  expect_counts_between(call, 2, 3, 1, 1, 0);
  const Tensor& dy = call.input(0);
  const Tensor& table = call.output(0);
  expect_tensor(call, dy, "dy", TensorType::kF32, dy.rows, dy.cols);
  expect_tensor(call, call.input(1), "ids", TensorType::kI32, dy.rows, 1);
  expect_tensor(call, table, "dTable", TensorType::kF32, table.rows, dy.cols);
  if (!call.has_input(kMarks)) return;
  const Tensor& marks = call.input(kMarks);
  expect_tensor(call, marks, "marks", TensorType::kBits, 1, marks.cols);
  expect(call, table.rows <= marks.cols, "'dTable' has more rows than there are tokens");
}

size_t scratch_bytes(const Call& call, int) { return ids_bytes(call.input(1)); }

void run(const Call& call) {
  const Tensor& dy = call.input(0);
  const Tensor& table = call.output(0);
  const int64_t cols = dy.cols;
  const bool marked = call.has_input(kMarks);
  const int64_t vocabulary = marked ? call.input(kMarks).cols : table.rows, dense_rows = vocabulary - table.rows;
  const TokenRows tokens(marked ? call.input(kMarks).bits() : nullptr, vocabulary, dense_rows);
  int32_t* const rows = reinterpret_cast<int32_t*>(call.scratch);
  checked_ids(call.input(1), vocabulary, 0, call.scratch);
  for (int64_t r = 0; r < dy.rows; ++r) rows[r] = static_cast<int32_t>(tokens.row(rows[r]) - dense_rows);
  call.pool->parallel_for((cols + kColumns - 1) / kColumns, [&](int64_t task, int) {
    const int64_t first = task * kColumns, last = first + kColumns < cols ? first + kColumns : cols;
    for (int64_t r = 0; r < dy.rows; ++r) {
      if (rows[r] < 0) continue;
      const float* from = dy.f32() + r * cols;
      float* to = table.f32() + rows[r] * cols;
      for (int64_t c = first; c < last; ++c) to[c] += from[c];
    }
  });
}

}  // namespace

extern const Operation embedding_gradient_operation;
const Operation embedding_gradient_operation = {"embedding_gradient", check, scratch_bytes, run, false};

}  // namespace mbok
