#include "operations/boolean_product.h"

#include "kernels/boolean_panel/boolean_panel.h"

namespace mbok {

// Blocks of 64 rows by 64 columns: up to a depth of 16384 both operands of a block stay in the second-level cache.
void boolean_product(ThreadPool& pool, const BooleanProduct& p) {
  constexpr int64_t kBlock = 64;
  BooleanProductFunction* const multiply = boolean_product_table.best();
  const int64_t down = (p.rows + kBlock - 1) / kBlock, across = (p.cols + kBlock - 1) / kBlock;
  pool.parallel_for(down * across, [&](int64_t task, int) {
    const int64_t row = task % down * kBlock, col = task / down * kBlock;
    BooleanProduct block = p;
    block.x += row * p.words;
    block.w += col * p.words;
    block.rows = p.rows - row < kBlock ? p.rows - row : kBlock;
    block.cols = p.cols - col < kBlock ? p.cols - col : kBlock;
    if (p.bias != nullptr) block.bias += col;
    block.y += row * p.y_stride + col;
    multiply(block);
  });
}

// Tasks own 64 columns, which are 64 rows of the result.
void transpose_bits(ThreadPool& pool, const uint64_t* bits, int64_t rows, int64_t cols, uint64_t* out) {
  BitTransposeFunction* const transpose = bit_transpose_table.best();
  const int64_t words = words_per_row(cols), out_words = words_per_row(rows);
  pool.parallel_for(words, [=](int64_t task, int) {
    const int64_t count = cols - task * 64 < 64 ? cols - task * 64 : 64;
    uint64_t block[64];
    for (int64_t w = 0; w < out_words; ++w) {
      transpose(bits + w * 64 * words + task, words, rows - w * 64 < 64 ? rows - w * 64 : 64, block);
      for (int64_t j = 0; j < count; ++j) out[(task * 64 + j) * out_words + w] = block[j];
    }
  });
}

}  // namespace mbok
