// y[r] = table[offset + position of row r]; positions.h describes the optional input. Attribute: offset, the table's
// row of position 0 (2 in OPT).
#include <cstring>

#include "operations/positions.h"
#include "operations/rows.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts_between(call, 1, 2, 1, 1, 1);
  const Tensor& table = call.input(0);
  const Tensor& y = call.output(0);
  expect(call, call.integer(0) >= 0, "the offset must not be negative");
  expect_tensor(call, table, "table", TensorType::kF32, table.rows, table.cols);
  expect_tensor(call, y, "y", TensorType::kF32, y.rows, table.cols);
  expect_positions(call, 1, y.rows);
}

void run(const Call& call) {
  const Tensor& table = call.input(0);
  const Tensor& y = call.output(0);
  const int64_t cols = table.cols;
  const Positions positions = checked_positions(call, y.rows, table, call.integer(0), 1);
  for_row_tasks(*call.pool, split_rows(y.rows, cols), [&](int64_t first, int64_t count) {
    for (int64_t r = first; r < first + count; ++r)
      std::memcpy(y.f32() + r * cols, table.f32() + positions.row(r) * cols, static_cast<size_t>(cols) * sizeof(float));
  });
}

}  // namespace

extern const Operation position_embedding_operation;
const Operation position_embedding_operation = {"position_embedding", check, nullptr, run, false};

}  // namespace mbok
