// Splits operations on independent rows into tasks, by the shape alone, never by the number of threads.
#pragma once

#include <cstdint>

#include "runtime/thread_pool.h"

namespace mbok {

struct RowSplit {
  int64_t rows;
  int64_t rows_per_task;

  int64_t tasks() const { return (rows + rows_per_task - 1) / rows_per_task; }
  int64_t first(int64_t task) const { return task * rows_per_task; }
  int64_t count(int64_t task) const {
    const int64_t left = rows - first(task);
    return left < rows_per_task ? left : rows_per_task;
  }
};

// Tasks of about 16384 elements take several microseconds; handing out a task takes well under one.
inline RowSplit split_rows(int64_t rows, int64_t cols) {
  constexpr int64_t kElements = 16384;
  return {rows, cols >= kElements ? 1 : kElements / (cols > 0 ? cols : 1)};
}

// For sums over all rows, where every task writes a partial sum of `cols` floats. At least 32 rows per task limit the
// partial sums to 1/32 of the input.
inline RowSplit split_rows_for_partials(int64_t rows, int64_t cols) {
  const RowSplit split = split_rows(rows, cols);
  return {rows, split.rows_per_task < 32 ? 32 : split.rows_per_task};
}

// Calls body(first row, number of rows) for every task.
template <class Body>
void for_row_tasks(ThreadPool& pool, const RowSplit& split, Body&& body) {
  pool.parallel_for(split.tasks(), [&](int64_t task, int) { body(split.first(task), split.count(task)); });
}

// out[c] += Σ_p partials[p][c], in the order of p.
inline void add_partials(ThreadPool& pool, const float* partials, int64_t count, int64_t cols, float* out) {
  constexpr int64_t kColumns = 1024;
  pool.parallel_for((cols + kColumns - 1) / kColumns, [=](int64_t task, int) {
    const int64_t first = task * kColumns;
    const int64_t last = first + kColumns < cols ? first + kColumns : cols;
    for (int64_t p = 0; p < count; ++p)
      for (int64_t c = first; c < last; ++c) out[c] += partials[p * cols + c];
  });
}

}  // namespace mbok
