// Rows of a position table: row r of a run stands at position scalars.position + r mod T of its sequence.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/operation.h"

namespace mbok {

struct Positions {
  int64_t first;   // row of the table for the first token of every sequence
  int64_t length;  // of a sequence

  int64_t row(int64_t r) const { return first + r % length; }
};

// Throws Error MBOK_INVALID_ARGUMENT where a position of the run's `rows` lies beyond the table, whose first `offset`
// rows stand for no position.
inline Positions checked_positions(const Call& call, int64_t rows, const Tensor& table, int64_t offset) {
  const int64_t length = static_cast<int64_t>(call.scalars->sequence_length);
  const int64_t position = static_cast<int64_t>(call.scalars->position);
  const int64_t last = position + (rows < length ? rows : length) - 1;
  if (offset + last >= table.rows)
    throw Error("MBOK_INVALID_ARGUMENT", "position " + std::to_string(last) + " lies beyond the model's limit of " +
                                             std::to_string(table.rows - offset));
  return {offset + position, length};
}

}  // namespace mbok
