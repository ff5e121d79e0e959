#include "kernels/bit_tiles/bit_tiles.h"
#include "kernels/boolean_lookup/candidates.h"
#include "kernels/simd/neon.h"

#if defined(MBOK_NEON)
namespace mbok::neon {
namespace {

constexpr int64_t kBytes = 16;

struct Bytes {
  uint8x16_t v;
};

MBOK_INLINE Bytes load_bytes(const uint8_t* p) { return {vld1q_u8(p)}; }
MBOK_INLINE Bytes load_table(const uint8_t* p) { return {vld1q_u8(p)}; }
MBOK_INLINE Bytes low_nibbles(Bytes a) { return {vandq_u8(a.v, vdupq_n_u8(15))}; }
MBOK_INLINE Bytes high_nibbles(Bytes a) { return {vshrq_n_u8(a.v, 4)}; }
MBOK_INLINE Bytes shuffle(Bytes table, Bytes index) { return {vqtbl1q_u8(table.v, index.v)}; }
MBOK_INLINE Bytes add8(Bytes a, Bytes b) { return {vaddq_u8(a.v, b.v)}; }
MBOK_INLINE Bytes all16(int16_t a) { return {vreinterpretq_u8_s16(vdupq_n_s16(a))}; }
MBOK_INLINE Bytes add_even(Bytes sum, Bytes low, Bytes high) {
  const uint16x8_t with_low = vaddw_u8(vreinterpretq_u16_u8(sum.v), vget_low_u8(low.v));
  return {vreinterpretq_u8_u16(vmlal_u8(with_low, vget_low_u8(high.v), vdup_n_u8(1 << kLowBits)))};
}
MBOK_INLINE Bytes add_odd(Bytes sum, Bytes low, Bytes high) {
  const uint16x8_t with_low = vaddw_high_u8(vreinterpretq_u16_u8(sum.v), low.v);
  return {vreinterpretq_u8_u16(vmlal_high_u8(with_low, high.v, vdupq_n_u8(1 << kLowBits)))};
}

// sums[i] += scale · a[i] for the eight integers of a.
MBOK_INLINE void add_scaled(Bytes a, float scale, float* sums) {
  const int16x8_t numbers = vreinterpretq_s16_u8(a.v);
  const Vec wide = {vcvtq_f32_s32(vmovl_s16(vget_low_s16(numbers))), vcvtq_f32_s32(vmovl_high_s16(numbers))};
  store(sums, fma(broadcast(scale), wide, load(sums)));
}

// y[i] += a[i] · b[i], i < 8.
MBOK_INLINE void multiply_add8(const float* a, const float* b, float* y) { store(y, fma(load(a), load(b), load(y))); }

#include "kernels/boolean_lookup/body.h"

// Writes the table of four inputs: entry v is Σ_b ±q[b], + if bit b of v is set.
MBOK_INLINE void store_table(const int16_t* q, uint8_t* table) {
  int16x8_t first = vmulq_n_s16(int16x8_t{-1, 1, -1, 1, -1, 1, -1, 1}, q[0]);
  first = vmlaq_n_s16(first, int16x8_t{-1, -1, 1, 1, -1, -1, 1, 1}, q[1]);
  first = vmlaq_n_s16(first, int16x8_t{-1, -1, -1, -1, 1, 1, 1, 1}, q[2]);
  const int16x8_t last = vdupq_n_s16(q[3]);
  const int16x8_t sums[2] = {vsubq_s16(first, last), vaddq_s16(first, last)};
  MBOK_UNROLL
  for (int half = 0; half < 2; ++half) {
    const uint8x8_t low = vmovn_u16(vandq_u16(vreinterpretq_u16_s16(sums[half]), vdupq_n_u16((1 << kLowBits) - 1)));
    const int8x8_t high = vadd_s8(vshrn_n_s16(sums[half], kLowBits), vdup_n_s8(kHighBias));
    vst1_u8(table + 8 * half, low);
    vst1_u8(table + 16 + 8 * half, vreinterpret_u8_s8(high));
  }
}

MBOK_INLINE void store_tables(const int16_t* q, uint8_t* tables) {
  for (int64_t j = 0; j < kLookupBlock; j += 4) store_table(q + j, tables + 8 * j);
}

MBOK_INLINE void store_whole(int16_t* to, Vec numbers) {
  const int16x4_t low = vmovn_s32(vcvtnq_s32_f32(numbers.low));
  vst1q_s16(to, vmovn_high_s32(low, vcvtnq_s32_f32(numbers.high)));
}

#include "kernels/boolean_lookup/tables_body.h"

}  // namespace

void lookup_tables(const LookupInputs& in, uint8_t* tables, float* scales) { make_tables(in, tables, scales); }

void boolean_lookup(const BooleanLookup& p) { look_up<1, 6144>(p); }

}  // namespace mbok::neon
#endif
