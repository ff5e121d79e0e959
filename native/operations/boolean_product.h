// Products of two bit matrices, cut into tasks, and the transposition that gradients need before them.
#pragma once

#include <cstddef>

#include "kernels/boolean_product/boolean_product.h"
#include "runtime/tensor.h"
#include "runtime/thread_pool.h"

namespace mbok {

// kernels/boolean_product of all rows and columns.
void boolean_product(ThreadPool& pool, const BooleanProduct& product);

// out[cols, rows] = bits[rows, cols]ᵀ, padding zero. out has transposed_words(rows, cols) words.
void transpose_bits(ThreadPool& pool, const uint64_t* bits, int64_t rows, int64_t cols, uint64_t* out);
inline int64_t transposed_words(int64_t rows, int64_t cols) { return cols * words_per_row(rows); }

}  // namespace mbok
