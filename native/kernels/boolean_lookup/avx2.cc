#include "kernels/bit_tiles/bit_tiles.h"
#include "kernels/boolean_lookup/candidates.h"
#include "kernels/simd/avx2.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
namespace {

constexpr int64_t kBytes = 32;

struct Bytes {
  __m256i v;
};

MBOK_INLINE Bytes load_bytes(const uint8_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
MBOK_INLINE Bytes load_table(const uint8_t* p) {
  return {_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
MBOK_INLINE Bytes low_nibbles(Bytes a) { return {_mm256_and_si256(a.v, _mm256_set1_epi8(15))}; }
MBOK_INLINE Bytes high_nibbles(Bytes a) { return low_nibbles({_mm256_srli_epi16(a.v, 4)}); }
MBOK_INLINE Bytes shuffle(Bytes table, Bytes index) { return {_mm256_shuffle_epi8(table.v, index.v)}; }
MBOK_INLINE Bytes add8(Bytes a, Bytes b) { return {_mm256_add_epi8(a.v, b.v)}; }
MBOK_INLINE Bytes all16(int16_t a) { return {_mm256_set1_epi16(a)}; }
// sum + low + high · 2^kLowBits in 16 bits; `pairs` interleaves low and high parts.
MBOK_INLINE Bytes add_pairs(Bytes sum, __m256i pairs) {
  const __m256i factors = all16(1 << kLowBits << 8 | 1).v;
  return {_mm256_add_epi16(sum.v, _mm256_maddubs_epi16(pairs, factors))};
}
MBOK_INLINE Bytes add_even(Bytes sum, Bytes low, Bytes high) {
  return add_pairs(sum, _mm256_unpacklo_epi8(low.v, high.v));
}
MBOK_INLINE Bytes add_odd(Bytes sum, Bytes low, Bytes high) {
  return add_pairs(sum, _mm256_unpackhi_epi8(low.v, high.v));
}

// sums[i] += scale · a[i] for the 16 integers of a.
MBOK_INLINE void add_scaled(Bytes a, float scale, float* sums) {
  const __m256 low = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_castsi256_si128(a.v)));
  const __m256 high = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_extracti128_si256(a.v, 1)));
  const __m256 factor = _mm256_set1_ps(scale);
  _mm256_storeu_ps(sums, _mm256_fmadd_ps(factor, low, _mm256_loadu_ps(sums)));
  _mm256_storeu_ps(sums + 8, _mm256_fmadd_ps(factor, high, _mm256_loadu_ps(sums + 8)));
}

// y[i] += a[i] · b[i], i < 8.
MBOK_INLINE void multiply_add8(const float* a, const float* b, float* y) {
  _mm256_storeu_ps(y, _mm256_fmadd_ps(_mm256_loadu_ps(a), _mm256_loadu_ps(b), _mm256_loadu_ps(y)));
}

#include "kernels/boolean_lookup/body.h"

// Writes the table of four inputs: entry v is Σ_b ±q[b], + if bit b of v is set.
MBOK_INLINE void store_table(const int16_t* q, uint8_t* table) {
  const __m256i bit0 = _mm256_setr_epi16(-1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1);
  const __m256i bit1 = _mm256_setr_epi16(-1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1);
  const __m256i bit2 = _mm256_setr_epi16(-1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1);
  const __m256i bit3 = _mm256_setr_epi16(-1, -1, -1, -1, -1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1, 1);
  const __m256i sums = _mm256_add_epi16(_mm256_add_epi16(_mm256_sign_epi16(_mm256_set1_epi16(q[0]), bit0),
                                                         _mm256_sign_epi16(_mm256_set1_epi16(q[1]), bit1)),
                                        _mm256_add_epi16(_mm256_sign_epi16(_mm256_set1_epi16(q[2]), bit2),
                                                         _mm256_sign_epi16(_mm256_set1_epi16(q[3]), bit3)));
  const __m256i low = _mm256_and_si256(sums, _mm256_set1_epi16((1 << kLowBits) - 1));
  const __m256i high = _mm256_add_epi16(_mm256_srai_epi16(sums, kLowBits), _mm256_set1_epi16(kHighBias));
  // low parts of both lanes first, then high parts
  const __m256i order = _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15,  //
                                         0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
  const __m256i bytes =
      _mm256_permute4x64_epi64(_mm256_shuffle_epi8(_mm256_or_si256(low, _mm256_slli_epi16(high, 8)), order), 0xd8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(table), bytes);
}

MBOK_INLINE void store_tables(const int16_t* q, uint8_t* tables) {
  for (int64_t j = 0; j < kLookupBlock; j += 4) store_table(q + j, tables + 8 * j);
}

MBOK_INLINE void store_whole(int16_t* to, Vec numbers) {
  const __m256i whole = _mm256_cvtps_epi32(numbers.v);
  const __m128i narrow = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), narrow);
}

#include "kernels/boolean_lookup/tables_body.h"

}  // namespace

void lookup_tables(const LookupInputs& in, uint8_t* tables, float* scales) { make_tables(in, tables, scales); }

void boolean_lookup(const BooleanLookup& p) { look_up<1, 6144>(p); }
void boolean_lookup_pairs(const BooleanLookup& p) { look_up<2, 2048>(p); }

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
