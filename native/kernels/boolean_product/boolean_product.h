// Boolean × Boolean: products of ±1 rows by xor and popcount.
//
//   y[r, c] (+)= factor·(depth − 2·popcount(x[r] xor w[c])) + bias[c]
//
// Layout. x holds rows of `words` 64-bit words, of which `depth` bits are used. w is packed: eight columns are
// interleaved word by word, word i of column c at w[(c / 8 · words + i) · 8 + c % 8]. Columns are padded with zeros to
// a multiple of eight. Padding bits are zero in both operands, so the xor cancels them.
//
// Numerics. Integers are exact, also in f32 (|sum| ≤ depth < 2²⁴); factor and bias round as f32.
//
// Budget. Every lane is an output, so nothing is reduced across lanes.
//
//                      tile     per word of the depth                              products   cycles
//   avx512_vpopcntdq   4 × 32   4 loads, 4 broadcasts, 16 × (vpxorq, vpopcntq, vpaddq)   8192   12 on 4 ports, 24 on 2
//   avx2               2 × 8    36 instructions, 9 per 256 products                      1024
//   neon               4 × 8    4 loads, 4 broadcasts, 16 × (eor, cnt, add)              2048   12 on 4 pipes, 24 on 2
//
// avx512_vpopcntdq ends a tile with 7 operations for 16 outputs. avx2 counts by two vpshufb look-ups of nibbles. avx2
// and neon count in bytes, which vpsadbw (uaddlp and uadalp) widens every 31 words. Carry-save adders would not pay:
// they take three operations to save two.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

// Columns packed together.
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

// Packs eight columns from `count` ≤ 8 rows of `words` words.
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
