// Boolean × Boolean: products of ±1 rows by xnor and popcount.
//
//   y[r, c] (+)= factor·(depth − 2·popcount(x[r] xor w[c])) + bias[c]
//
// x and w are rows of `words` 64-bit words, `depth` of whose bits count; padding bits are equal (zero) in both, so that
// they vanish in the xor. The integers are exact, also in f32 (|sum| ≤ depth < 2²⁴); factor and bias round as f32.
//
// Budget. Sixty-four products cost a xor, a popcount and an addition in a word. avx512_vpopcntdq: a 4 × 4 register
// tile, for 8 words of the depth 8 loads and 16 each of vpxorq, vpopcntq and vpaddq: bound by vpopcntq (1-2 a cycle),
// 0.5-1 cycle per 512 products; one reduction of 16 accumulators (50 instructions) a tile. avx2: a 2 × 4 tile, 4 words by two
// vpshufb look-ups of nibbles, byte counters widened by vpsadbw every 31 steps: 9 instructions per 256 products.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

struct BooleanProduct {
  const uint64_t* x;  // [rows, words]
  const uint64_t* w;  // [cols, words]
  int64_t rows, cols, words, depth;
  float factor;
  const float* bias;  // [cols], or null
  float* y;           // element (r, c) at y[r · y_stride + c]
  int64_t y_stride;
  bool accumulate;
};

using BooleanProductFunction = void(const BooleanProduct& product);

extern const KernelTable<BooleanProductFunction> boolean_product_table;

namespace scalar {
BooleanProductFunction boolean_product;
}
namespace avx2 {
BooleanProductFunction boolean_product;
}
namespace avx512 {
BooleanProductFunction boolean_product_vpopcntdq;
}

}  // namespace mbok
