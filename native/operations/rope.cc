// Rotary position embedding of every head in a row, or of its first numbers if the table is narrower. positions.h
// describes a row's position and the optional third input. Attributes: head dimension d, direction (+1, or −1 for the
// inverse, which is the gradient). y may be x.
#include "kernels/rope/rope.h"

#include "operations/positions.h"
#include "operations/rows.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts_between(call, 2, 3, 1, 1, 2);
  const Tensor& x = call.input(0);
  const Tensor& table = call.input(1);
  const int64_t d = call.integer(0);
  expect(call, d >= 2 && x.cols % d == 0, "the head dimension must divide the row");
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, x.cols);
  expect(call, table.cols >= 2 && table.cols % 2 == 0 && table.cols <= d, "the table must be even and fit the head");
  expect_tensor(call, table, "table", TensorType::kF32, table.rows, table.cols);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, x.rows, x.cols);
  expect_positions(call, 2, x.rows);
}

void run(const Call& call) {
  const Tensor& x = call.input(0);
  const Tensor& table = call.input(1);
  const int64_t d = call.integer(0);
  const float direction = static_cast<float>(call.attribute(1));
  const Positions positions = checked_positions(call, x.rows, table, 0, 2);
  for_row_tasks(*call.pool, split_rows(x.rows, x.cols), [&](int64_t first, int64_t count) {
    for (int64_t r = first; r < first + count; ++r)
      rope_table.best()(x.f32() + r * x.cols, table.f32() + positions.row(r) * table.cols,
                        call.output(0).f32() + r * x.cols, x.cols / d, d, table.cols, direction);
  });
}

}  // namespace

extern const Operation rope_operation;
const Operation rope_operation = {"rope", check, nullptr, run, false};

}  // namespace mbok
