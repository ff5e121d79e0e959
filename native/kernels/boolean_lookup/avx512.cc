#include "kernels/bit_tiles/bit_tiles.h"
#include "kernels/boolean_lookup/candidates.h"
#include "kernels/simd/avx512.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {
namespace {

#include "kernels/boolean_lookup/avx512_bytes.h"

MBOK_INLINE Bytes low_nibbles(Bytes a) { return {_mm512_and_si512(a.v, _mm512_set1_epi8(15))}; }
MBOK_INLINE Bytes high_nibbles(Bytes a) { return low_nibbles({_mm512_srli_epi16(a.v, 4)}); }
MBOK_INLINE Bytes shuffle(Bytes table, Bytes index) { return {_mm512_shuffle_epi8(table.v, index.v)}; }

#include "kernels/boolean_lookup/body.h"

// Writes the tables of 64 inputs, four tables at a time: sixteen 32-bit sums each, whose bytes are then sorted.
MBOK_INLINE void store_tables(const int16_t* q, uint8_t* tables) {
  // two signs of 16 bits each: `first` by bits 0 and 1 of an entry's index for inputs 0 and 1, `last` by bits 2 and 3
  constexpr int32_t kSigns[4] = {-1, -0xffff, 0x1ffff, 0x10001};
  const __m512i first = _mm512_broadcast_i32x4(_mm_setr_epi32(kSigns[0], kSigns[1], kSigns[2], kSigns[3]));
  const __m512i last =
      _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3), first);
  // tables t and t + 1, from four bytes of every table in every lane of 16 bytes
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
  const __m512i mask = all16((1 << kLowBits) - 1).v, bias = all16(kHighBias).v;
  for (int64_t j = 0; j < kLookupBlock; j += 16) {
    __m512i sums[4], low[2], high[2];
    MBOK_UNROLL
    for (int t = 0; t < 4; ++t) {
      int32_t pairs[2];
      __builtin_memcpy(pairs, q + j + 4 * t, sizeof pairs);
      sums[t] = _mm512_add_epi32(_mm512_madd_epi16(_mm512_set1_epi32(pairs[0]), first),
                                 _mm512_madd_epi16(_mm512_set1_epi32(pairs[1]), last));
    }
    MBOK_UNROLL
    for (int half = 0; half < 2; ++half) {
      const __m512i words = _mm512_packs_epi32(sums[2 * half], sums[2 * half + 1]);
      low[half] = _mm512_and_si512(words, mask);
      high[half] = _mm512_add_epi16(_mm512_srai_epi16(words, kLowBits), bias);
    }
    const __m512i lows = _mm512_packus_epi16(low[0], low[1]), highs = _mm512_packus_epi16(high[0], high[1]);
    const __m512i next = _mm512_add_epi32(order, _mm512_set1_epi32(2));
    _mm512_storeu_si512(tables + 8 * j, _mm512_permutex2var_epi32(lows, order, highs));
    _mm512_storeu_si512(tables + 8 * j + 64, _mm512_permutex2var_epi32(lows, next, highs));
  }
}

MBOK_INLINE void store_whole(int16_t* to, Vec numbers) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(numbers.v)));
}

#include "kernels/boolean_lookup/tables_body.h"

}  // namespace

void lookup_tables(const LookupInputs& in, uint8_t* tables, float* scales) { make_tables(in, tables, scales); }

void boolean_lookup(const BooleanLookup& p) { look_up<1, 6144>(p); }

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
