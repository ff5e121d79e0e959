// dTable[offset + position of row r] += dy[r], in the order of r. Attribute: offset. Tasks own columns, not rows, so
// one thread adds up a position that every sequence has.
#include "operations/positions.h"

namespace mbok {
namespace {

constexpr int64_t kColumns = 64;  // four cache lines of a row

void check(const Call& call) {
  expect_counts_between(call, 1, 2, 1, 1, 1);
  const Tensor& dy = call.input(0);
  const Tensor& table = call.output(0);
  expect(call, call.integer(0) >= 0, "the offset must not be negative");
  expect_tensor(call, dy, "dy", TensorType::kF32, dy.rows, dy.cols);
  expect_tensor(call, table, "dTable", TensorType::kF32, table.rows, dy.cols);
  expect_positions(call, 1, dy.rows);
}

void run(const Call& call) {
  const Tensor& dy = call.input(0);
  const Tensor& table = call.output(0);
  const int64_t cols = dy.cols;
  const Positions positions = checked_positions(call, dy.rows, table, call.integer(0), 1);
  call.pool->parallel_for((cols + kColumns - 1) / kColumns, [&](int64_t task, int) {
    const int64_t first = task * kColumns, last = first + kColumns < cols ? first + kColumns : cols;
    for (int64_t r = 0; r < dy.rows; ++r) {
      const float* from = dy.f32() + r * cols;
      float* to = table.f32() + positions.row(r) * cols;
      for (int64_t c = first; c < last; ++c) to[c] += from[c];
    }
  });
}

}  // namespace

extern const Operation position_embedding_gradient_operation;
const Operation position_embedding_gradient_operation = {"position_embedding_gradient", check, nullptr, run, false};

}  // namespace mbok
