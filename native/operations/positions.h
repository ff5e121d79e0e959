// Positions of rows in their sequences, as rows of a position table. Either the caller passes an i32 [R, 1], or row r
// has position scalars.position + r mod T.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/operation.h"

namespace mbok {

struct Positions {
  int64_t first;         // row of the table for the first token of every sequence; with `given`, for position 0
  int64_t length;        // of a sequence
  const int32_t* given;  // may be null

  int64_t row(int64_t r) const { return first + (given != nullptr ? given[r] : r % length); }
};

// Checks the optional input `index`, the positions of `rows` rows.
inline void expect_positions(const Call& call, int index, int64_t rows) {
  if (call.has_input(index)) expect_tensor(call, call.input(index), "positions", TensorType::kI32, rows, 1);
}

// Returns the positions of the run's `rows` rows. Throws Error MBOK_INVALID_ARGUMENT for a position beyond the table,
// whose first `offset` rows belong to no position. `index`: the optional input with positions.
inline Positions checked_positions(const Call& call, int64_t rows, const Tensor& table, int64_t offset, int index) {
  const auto expect_within = [&](int64_t position) {
    if (position < 0 || offset + position >= table.rows)
      throw Error("MBOK_INVALID_ARGUMENT", "position " + std::to_string(position) +
                                               " lies beyond the model's limit of " +
                                               std::to_string(table.rows - offset));
  };
  if (call.has_input(index)) {
    const int32_t* given = call.input(index).i32();
    for (int64_t r = 0; r < rows; ++r) expect_within(given[r]);
    return {offset, 1, given};
  }
  const int64_t length = static_cast<int64_t>(call.scalars->sequence_length);
  const int64_t position = static_cast<int64_t>(call.scalars->position);
  expect_within(position + (rows < length ? rows : length) - 1);
  return {offset + position, length, nullptr};
}

}  // namespace mbok
