#include "kernels/bit_tiles/candidates.h"
#include "kernels/simd/neon.h"

#if defined(MBOK_NEON)
namespace mbok::neon {
namespace {

// One round of the 8 × 8 bit transpose in every 64-bit lane: swaps bits (7), pairs (14) or quarters (28) off the
// diagonal.
template <int kShift>
MBOK_INLINE uint64x2_t swap_bits(uint64x2_t a, uint64_t mask) {
  const uint64x2_t swap = vandq_u64(veorq_u64(a, vshrq_n_u64(a, kShift)), vdupq_n_u64(mask));
  return veorq_u64(a, veorq_u64(swap, vshlq_n_u64(swap, kShift)));
}

}  // namespace

void bit_planes(const uint8_t* block, uint64_t* planes) {
  // after the rounds, bytes 0, 8, 16, … hold column 0 of the eight groups of rows
  const uint8x16_t columns = {0, 8, 16, 24, 32, 40, 48, 56, 1, 9, 17, 25, 33, 41, 49, 57};
  uint8x16_t order[4];
  MBOK_UNROLL
  for (int i = 0; i < 4; ++i) order[i] = vaddq_u8(columns, vdupq_n_u8(static_cast<uint8_t>(2 * i)));
  for (int b = 0; b < 8; ++b) {
    uint8x16x4_t groups;
    MBOK_UNROLL
    for (int i = 0; i < 4; ++i) {
      uint64x2_t a = vreinterpretq_u64_u8(vld1q_u8(block + b * kTileRows + 16 * i));
      a = swap_bits<7>(a, 0x00aa00aa00aa00aa);
      a = swap_bits<14>(a, 0x0000cccc0000cccc);
      a = swap_bits<28>(a, 0x00000000f0f0f0f0);
      groups.val[i] = vreinterpretq_u8_u64(a);
    }
    MBOK_UNROLL
    for (int i = 0; i < 4; ++i) vst1q_u64(planes + 8 * b + 2 * i, vreinterpretq_u64_u8(vqtbl4q_u8(groups, order[i])));
  }
}

}  // namespace mbok::neon
#endif
