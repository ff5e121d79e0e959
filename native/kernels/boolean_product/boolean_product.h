// Boolean × Boolean: products of ±1 rows by xnor and popcount.
//
//   y[r, c] (+)= factor·(depth − 2·popcount(x[r] xor w[c])) + bias[c]
//
// x is rows of `words` 64-bit words, `depth` of whose bits count. w is packed: the words of eight columns side by side,
// word i of column c at w[(c / 8 · words + i) · 8 + c % 8], columns filled up to eight by zeros. Padding bits are equal
// (zero) in both, so that they vanish in the xor. The integers are exact, also in f32 (|sum| ≤ depth < 2²⁴); factor and
// bias round as f32.
//
// Budget. A word of x against eight columns is a xor, a popcount and an addition; every lane is an output, so nothing is
// reduced. avx512_vpopcntdq: tiles of 4 rows by 32 columns, for a word of the depth 4 loads, 4 broadcasts and 16 each of
// vpxorq, vpopcntq and vpaddq: four vector ports take 12 cycles for 8192 products, two 24, and the tile ends with 7
// operations for 16 outputs. avx2: 2 rows by 8 columns, popcounts by two vpshufb look-ups of nibbles, byte counters
// widened by vpsadbw every 31 words: 9 instructions per 256 products. neon: 4 rows by 8 columns; a word of the depth takes
// 4 loads, 4 broadcasts and 16 each of eor, cnt and add into byte counters, which uaddlp and uadalp widen every 31 words:
// 48 vector operations for 2048 products, 12 cycles on four vector pipes, 24 on two. Carry-save adders would not pay: they
// take three operations to spare two.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

// Columns side by side.
constexpr int64_t kPackedColumns = 8;
inline int64_t packed_words(int64_t cols, int64_t words) {
  return (cols + kPackedColumns - 1) / kPackedColumns * kPackedColumns * words;
}

struct BooleanProduct {
  const uint64_t* x;  // [rows, words]
  const uint64_t* w;  // packed columns
  int64_t rows, cols, words, depth;
  float factor;
  const float* bias;  // [cols], or null
  float* y;           // element (r, c) at y[r · y_stride + c]
  int64_t y_stride;
  bool accumulate;
};

using BooleanProductFunction = void(const BooleanProduct& product);

extern const KernelTable<BooleanProductFunction> boolean_product_table;

// Eight packed columns from `count` of as many rows of `words` words.
using PackColumnsFunction = void(const uint64_t* rows, int64_t count, int64_t words, uint64_t* packed);

extern const KernelTable<PackColumnsFunction> pack_columns_table;

namespace scalar {
BooleanProductFunction boolean_product;
PackColumnsFunction pack_columns;
}  // namespace scalar
namespace avx2 {
BooleanProductFunction boolean_product;
}
namespace avx512 {
BooleanProductFunction boolean_product_vpopcntdq;
PackColumnsFunction pack_columns;
}  // namespace avx512
namespace neon {
BooleanProductFunction boolean_product;
}

}  // namespace mbok
