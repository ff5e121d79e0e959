// Rows cut into runs of columns, for split and concatenate.
#pragma once

#include <cstring>

#include "operations/rows.h"
#include "runtime/operation.h"

namespace mbok {

// Checks that the columns of `parts` add up to those of `whole`.
inline void expect_parts(const Call& call, const Tensor& whole, const Tensor* parts, int count) {
  expect_tensor(call, whole, "the whole", TensorType::kF32, whole.rows, whole.cols);
  int64_t cols = 0;
  for (int i = 0; i < count; ++i) {
    expect_tensor(call, parts[i], "a part", TensorType::kF32, whole.rows, parts[i].cols);
    cols += parts[i].cols;
  }
  expect(call, cols == whole.cols, "the parts' columns must add up to the whole's");
}

// Calls move(address in the whole, address in the part, columns) for every row of every part.
template <class Move>
void for_column_runs(const Call& call, const Tensor& whole, const Tensor* parts, int count, Move&& move) {
  for_row_tasks(*call.pool, split_rows(whole.rows, whole.cols), [&](int64_t first, int64_t rows) {
    for (int64_t r = first; r < first + rows; ++r) {
      float* at = whole.f32() + r * whole.cols;
      for (int i = 0; i < count; at += parts[i].cols, ++i) move(at, parts[i].f32() + r * parts[i].cols, parts[i].cols);
    }
  });
}

}  // namespace mbok
