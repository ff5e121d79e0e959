#include "kernels/boolean_product/boolean_product.h"
#include "kernels/simd/intrinsics.h"
#include "kernels/simd/target.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {
namespace {

// Transposes 8 × 8 words in three rounds: pairs, quarters, halves.
MBOK_INLINE void transpose(__m512i r[8]) {
  __m512i pairs[8], quarters[8];
  MBOK_UNROLL
  for (int i = 0; i < 4; ++i) {
    pairs[2 * i] = _mm512_unpacklo_epi64(r[2 * i], r[2 * i + 1]);      // words 0 2 4 6 of two rows
    pairs[2 * i + 1] = _mm512_unpackhi_epi64(r[2 * i], r[2 * i + 1]);  // words 1 3 5 7
  }
  MBOK_UNROLL
  for (int i = 0; i < 4; ++i) {
    const __m512i a = pairs[i % 2 + i / 2 * 4], b = pairs[i % 2 + i / 2 * 4 + 2];
    quarters[i] = _mm512_shuffle_i64x2(a, b, 0x88);      // words 0 4 (i odd: 1 5) of four rows
    quarters[4 + i] = _mm512_shuffle_i64x2(a, b, 0xdd);  // words 2 6 (3 7)
  }
  MBOK_UNROLL
  for (int word = 0; word < 4; ++word) {
    const int from = word / 2 * 4 + word % 2;
    r[word] = _mm512_shuffle_i64x2(quarters[from], quarters[from + 2], 0x88);
    r[word + 4] = _mm512_shuffle_i64x2(quarters[from], quarters[from + 2], 0xdd);
  }
}

}  // namespace

void pack_columns(const uint64_t* rows, int64_t count, int64_t words, uint64_t* packed) {
  for (int64_t word = 0; word < words; word += 8) {
    const int64_t left = words - word < 8 ? words - word : 8;
    const __mmask8 lanes = static_cast<__mmask8>((1u << left) - 1u);
    __m512i r[8];
    MBOK_UNROLL
    for (int i = 0; i < 8; ++i)
      r[i] = i < count ? _mm512_maskz_loadu_epi64(lanes, rows + i * words + word) : _mm512_setzero_si512();
    transpose(r);
    MBOK_UNROLL
    for (int i = 0; i < 8; ++i)
      if (i < left) _mm512_storeu_si512(packed + (word + i) * kPackedColumns, r[i]);
  }
}

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
