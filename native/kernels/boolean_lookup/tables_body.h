// Tables in terms of Vec; included into an anonymous namespace inside mbok::<isa>, after store_tables() (of a block's
// numbers) and store_whole() (numbers in 16 bits).

#include "kernels/simd/round_block_body.h"

constexpr float kLargest = 511;

// values ← what q · scale leaves of them.
MBOK_INLINE void quantise(Vec (&values)[kLookupBlock / kLanes], float* scale, int16_t* q) {
  const BlockScale block = block_scale(values, kLargest);
  *scale = block.scale;
  MBOK_UNROLL
  for (int64_t i = 0; i < kLookupBlock / kLanes; ++i) {
    const Vec number = rounded(values[i], block, kLargest);
    store_whole(q + i * kLanes, number);
    values[i] = fnma(number, broadcast(block.scale), values[i]);
  }
}

MBOK_INLINE void make_tables(const LookupInputs& in, uint8_t* tables, float* scales) {
  for (int64_t word = 0; word * kLookupBlock < in.n; ++word) {
    Vec values[kLookupBlock / kLanes];
    MBOK_UNROLL
    for (int64_t i = 0; i < kLookupBlock / kLanes; ++i) {
      const int64_t at = word * kLookupBlock + i * kLanes, left = in.n - at;
      const int64_t n = left < 0 ? 0 : left < kLanes ? left : kLanes;
      values[i] = n == 0 ? zero() : load_n(in.x + at, n) * load_n(in.s_in + at, n);
    }
    for (int64_t part = 0; part < in.parts; ++part) {
      alignas(64) int16_t q[kLookupBlock];
      quantise(values, scales + part * in.words + word, q);
      store_tables(q, tables + (part * in.words + word) * kLookupBytes);
    }
  }
}
