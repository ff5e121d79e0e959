#include "operations/boolean_product.h"

#include <algorithm>

#include "kernels/boolean_panel/boolean_panel.h"

namespace mbok {
namespace {

// Returns the address of word `word` of column `col` in packed columns of `words` words.
uint64_t* packed_word(uint64_t* packed, int64_t words, int64_t col, int64_t word) {
  return packed + (col / kPackedColumns * words + word) * kPackedColumns + col % kPackedColumns;
}

// Calls put(column, word, bits) for every column of bits[rows, cols]; its rows become words. A task has 64 columns.
template <class Put>
void for_transposed(ThreadPool& pool, const uint64_t* bits, int64_t rows, int64_t cols, int64_t out_cols, Put&& put) {
  BitTransposeFunction* const transpose = bit_transpose_table.best();
  const int64_t words = words_per_row(cols), out_words = words_per_row(rows);
  pool.parallel_for(words, [&](int64_t task, int) {
    const int64_t count = out_cols - task * 64 < 64 ? out_cols - task * 64 : 64;
    uint64_t block[64];
    for (int64_t w = 0; w < out_words; ++w) {
      transpose(bits + w * 64 * words + task, words, rows - w * 64 < 64 ? rows - w * 64 : 64, block);
      for (int64_t j = 0; j < count; ++j) put(task * 64 + j, w, block[j]);
    }
  });
}

}  // namespace

// Blocks have 64 columns, which stay in the nearest cache, and as many rows as leave work for every thread. Columns
// that another thread has just packed are slow to read, so few threads should read them.
void boolean_product(ThreadPool& pool, const BooleanProduct& p) {
  constexpr int64_t kCols = 64, kLeastRows = 64, kRowMultiple = 4, kTasksPerThread = 8;
  if (p.rows == 0 || p.cols == 0) return;
  BooleanProductFunction* const multiply = boolean_product_table.best();
  const auto parts = [](int64_t count, int64_t size) { return (count + size - 1) / size; };
  const int64_t across = parts(p.cols, kCols), wanted = parts(kTasksPerThread * pool.threads(), across);
  const int64_t equal = parts(p.rows, std::min(wanted, parts(p.rows, kLeastRows)));
  const int64_t rows = parts(equal, kRowMultiple) * kRowMultiple, down = parts(p.rows, rows);  // whole register tiles
  pool.parallel_for(down * across, [&](int64_t task, int) {
    const int64_t row = task % down * rows, col = task / down * kCols;
    BooleanProduct block = p;
    block.x += row * p.words;
    block.w += col * p.words;
    block.rows = std::min(rows, p.rows - row);
    block.cols = std::min(kCols, p.cols - col);
    if (p.bias != nullptr) block.bias += col;
    block.y += row * p.y_stride + col;
    multiply(block);
  });
}

void pack_bits(ThreadPool& pool, const uint64_t* bits, int64_t rows, int64_t cols, uint64_t* packed) {
  PackColumnsFunction* const pack = pack_columns_table.best();
  const int64_t words = words_per_row(cols);
  pool.parallel_for((rows + kPackedColumns - 1) / kPackedColumns, [=](int64_t task, int) {
    const int64_t first = task * kPackedColumns, left = rows - first;
    pack(bits + first * words, left < kPackedColumns ? left : kPackedColumns, words, packed + first * words);
  });
}

void transpose_bits(ThreadPool& pool, const uint64_t* bits, int64_t rows, int64_t cols, uint64_t* out) {
  const int64_t words = words_per_row(rows);
  for_transposed(pool, bits, rows, cols, cols,
                 [=](int64_t col, int64_t word, uint64_t value) { out[col * words + word] = value; });
}

void pack_transposed_bits(ThreadPool& pool, const uint64_t* bits, int64_t rows, int64_t cols, uint64_t* packed) {
  const int64_t words = words_per_row(rows), filled = packed_words(cols, 1);
  for_transposed(pool, bits, rows, cols, filled,
                 [=](int64_t col, int64_t word, uint64_t value) { *packed_word(packed, words, col, word) = value; });
}

}  // namespace mbok
