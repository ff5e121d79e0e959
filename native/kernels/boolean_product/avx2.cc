#include "kernels/boolean_product/boolean_product.h"
#include "kernels/simd/avx2.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
namespace {

constexpr int64_t kSteps = 31;  // a byte counter grows by up to 8 per step: 31 · 8 ≤ 255

MBOK_INLINE __m256i popcount_bytes(__m256i v) {
  const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                          0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i nibble = _mm256_set1_epi8(15);
  return _mm256_add_epi8(_mm256_shuffle_epi8(counts, _mm256_and_si256(v, nibble)),
                         _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble)));
}

MBOK_INLINE __m256i load_words(const uint64_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

// Computes eight columns, of which p.cols − col exist, in two vectors.
template <int kRows>
MBOK_INLINE void tile(const BooleanProduct& p, int64_t row, int64_t col) {
  const uint64_t* const x = p.x + row * p.words;
  const uint64_t* const w = p.w + col * p.words;
  __m256i totals[kRows][2];
  MBOK_UNROLL
  for (int t = 0; t < 2 * kRows; ++t) totals[t / 2][t % 2] = _mm256_setzero_si256();
  for (int64_t i = 0; i < p.words;) {
    __m256i bytes[kRows][2];
    MBOK_UNROLL
    for (int t = 0; t < 2 * kRows; ++t) bytes[t / 2][t % 2] = _mm256_setzero_si256();
    for (const int64_t end = i + kSteps < p.words ? i + kSteps : p.words; i < end; ++i) {
      const __m256i low = load_words(w + i * kPackedColumns), high = load_words(w + i * kPackedColumns + 4);
      MBOK_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const __m256i word = _mm256_set1_epi64x(static_cast<long long>(x[r * p.words + i]));
        bytes[r][0] = _mm256_add_epi8(bytes[r][0], popcount_bytes(_mm256_xor_si256(word, low)));
        bytes[r][1] = _mm256_add_epi8(bytes[r][1], popcount_bytes(_mm256_xor_si256(word, high)));
      }
    }
    MBOK_UNROLL
    for (int t = 0; t < 2 * kRows; ++t) {
      const __m256i widened = _mm256_sad_epu8(bytes[t / 2][t % 2], _mm256_setzero_si256());
      totals[t / 2][t % 2] = _mm256_add_epi64(totals[t / 2][t % 2], widened);
    }
  }
  const int64_t count = p.cols - col < kPackedColumns ? p.cols - col : kPackedColumns;
  const Vec bias = p.bias != nullptr ? load_n(p.bias + col, count) : zero();
  for (int r = 0; r < kRows; ++r) {
    // counts fit 32 bits: gather the low halves
    const __m256i evens = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
    const __m256i low = _mm256_permutevar8x32_epi32(totals[r][0], evens);
    const __m256i high = _mm256_permutevar8x32_epi32(totals[r][1], evens);
    const __m256i different = _mm256_blend_epi32(low, high, 0xf0);
    const __m256i product =
        _mm256_sub_epi32(_mm256_set1_epi32(static_cast<int>(p.depth)), _mm256_slli_epi32(different, 1));
    Vec value = Vec{_mm256_cvtepi32_ps(product)} * broadcast(p.factor) + bias;
    float* const y = p.y + (row + r) * p.y_stride + col;
    if (p.accumulate) value = load_n(y, count) + value;
    store_n(y, value, count);
  }
}

}  // namespace

void boolean_product(const BooleanProduct& p) {
  for (int64_t col = 0; col < p.cols; col += kPackedColumns) {
    int64_t row = 0;
    for (; row + 2 <= p.rows; row += 2) tile<2>(p, row, col);
    if (row < p.rows) tile<1>(p, row, col);
  }
}

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
