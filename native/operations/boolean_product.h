// Products of two bit matrices, cut into tasks, and the packing of their operands.
#pragma once

#include <cstddef>

#include "kernels/boolean_product/boolean_product.h"
#include "runtime/tensor.h"
#include "runtime/thread_pool.h"

namespace mbok {

// Runs kernels/boolean_product over all rows and columns.
void boolean_product(ThreadPool& pool, const BooleanProduct& product);

// Packs the rows of bits[rows, cols] as columns of a product: packed_words(rows, words_per_row(cols)) words.
void pack_bits(ThreadPool& pool, const uint64_t* bits, int64_t rows, int64_t cols, uint64_t* packed);

// Writes the columns of bits[rows, cols] as rows of a product, padding zero: cols · words_per_row(rows) words.
void transpose_bits(ThreadPool& pool, const uint64_t* bits, int64_t rows, int64_t cols, uint64_t* out);

// Packs the columns of bits[rows, cols] as columns of a product: packed_words(cols, words_per_row(rows)) words.
void pack_transposed_bits(ThreadPool& pool, const uint64_t* bits, int64_t rows, int64_t cols, uint64_t* packed);

}  // namespace mbok
