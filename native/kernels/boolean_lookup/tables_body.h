// Tables in terms of Vec; included into an anonymous namespace inside mbok::<isa>, after store_table() (of four inputs) and
// store_whole() (numbers in 16 bits).

#include "kernels/simd/round_block_body.h"

constexpr float kLargest = 511;

// values ← what q · scale leaves of them.
MBOK_INLINE void quantise(float* values, float* scale, int16_t* q) {
  Vec v[kLookupBlock / kLanes];
  MBOK_UNROLL
  for (int64_t i = 0; i < kLookupBlock / kLanes; ++i) v[i] = load(values + i * kLanes);
  const BlockScale block = block_scale(v, kLargest);
  *scale = block.scale;
  MBOK_UNROLL
  for (int64_t i = 0; i < kLookupBlock / kLanes; ++i) {
    const Vec number = rounded(v[i], block, kLargest);
    store_whole(q + i * kLanes, number);
    store(values + i * kLanes, fnma(number, broadcast(block.scale), v[i]));
  }
}

MBOK_INLINE void make_tables(const LookupInputs& in, uint8_t* tables, float* scales) {
  for (int64_t word = 0; word * kLookupBlock < in.n; ++word) {
    float values[kLookupBlock];
    for (int64_t j = 0; j < kLookupBlock; j += kLanes) {
      const int64_t at = word * kLookupBlock + j, left = in.n - at;
      const int64_t n = left < 0 ? 0 : left < kLanes ? left : kLanes;
      store(values + j, n == 0 ? zero() : load_n(in.x + at, n) * load_n(in.s_in + at, n));
    }
    for (int64_t part = 0; part < in.parts; ++part) {
      int16_t q[kLookupBlock];
      quantise(values, scales + part * in.words + word, q);
      uint8_t* const table = tables + (part * in.words + word) * kLookupBytes;
      for (int64_t j = 0; j < kLookupBlock; j += 4) store_table(q + j, table + 8 * j);
    }
  }
}
