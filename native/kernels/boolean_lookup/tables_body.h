// Tables in terms of Vec; included into an anonymous namespace inside mbok::<isa>, after store_tables() (of a block's
// numbers) and store_whole() (numbers in 16 bits).

#include "kernels/simd/round_block_body.h"

constexpr float kLargest = 511;

// values ← what q · scale leaves of them.
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
  // A block's numbers wait for its maximum, so its tables are made when the next ones have theirs: otherwise all that
  // waits for one maximum fills the processor's schedulers before the next begins.
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
      for (int64_t i = 0; i < count; ++i)
        quantize(values + i * kLookupBlock, scales + first + i, q + i * kLookupBlock);
      for (int64_t i = 0; i < count; ++i) store_tables(q + i * kLookupBlock, tables + (first + i) * kLookupBytes);
    }
  }
}
