// Tables in terms of Vec. Included into an anonymous namespace inside mbok::<isa>, after store_tables() (the tables of
// a block's integers) and store_whole() (stores integers in 16 bits).

#include "kernels/simd/round_block_body.h"

constexpr float kLargest = 511;

// values ← values − q · scale, the remainder for the next part.
MBOK_INLINE void quantize(float* values, float* scale, int16_t* q) {
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
  // A block's integers depend on its maximum, so a batch of blocks is quantized before any tables are built. Otherwise
  // the operations that wait for one maximum fill the processor's schedulers before the next block begins.
  constexpr int64_t kAtOnce = 8;
  alignas(64) float values[kAtOnce * kLookupBlock];
  alignas(64) int16_t q[kAtOnce * kLookupBlock];
  const int64_t words = (in.n + kLookupBlock - 1) / kLookupBlock;
  for (int64_t word = 0; word < words; word += kAtOnce) {
    const int64_t count = words - word < kAtOnce ? words - word : kAtOnce;
    for (int64_t j = 0; j < count * kLookupBlock; j += kLanes) {
      const int64_t at = word * kLookupBlock + j, left = in.n - at;
      const int64_t n = left < 0 ? 0 : left < kLanes ? left : kLanes;
      store(values + j, n == 0 ? zero() : load_n(in.x + at, n) * load_n(in.s_in + at, n));
    }
    for (int64_t part = 0; part < in.parts; ++part) {
      const int64_t first = part * in.words + word;
      for (int64_t i = 0; i < count; ++i) quantize(values + i * kLookupBlock, scales + first + i, q + i * kLookupBlock);
      for (int64_t i = 0; i < count; ++i) store_tables(q + i * kLookupBlock, tables + (first + i) * kLookupBytes);
    }
  }
}
