// Tiles of 2 rows (or the last 1) by 4 columns; words beyond a multiple of 4 by the scalar popcnt instruction.
#include "kernels/boolean_product/boolean_product.h"
#include "kernels/simd/avx2.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
namespace {

constexpr int kCols = 4;
constexpr int64_t kSteps = 31;  // a byte counter takes 8 a step

MBOK_INLINE __m256i popcount_bytes(__m256i v) {
  const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                          0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i nibble = _mm256_set1_epi8(15);
  return _mm256_add_epi8(_mm256_shuffle_epi8(counts, _mm256_and_si256(v, nibble)),
                         _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble)));
}

MBOK_INLINE __m256i load_words(const uint64_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

MBOK_INLINE int64_t sum_of(__m256i v) {
  const __m128i halves = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  return _mm_cvtsi128_si64(halves) + _mm_extract_epi64(halves, 1);
}

// Columns beyond the edge repeat the last one and are not stored.
template <int kRows>
MBOK_INLINE void tile(const BooleanProduct& p, int64_t row, int64_t col) {
  const int64_t cols = p.cols - col < kCols ? p.cols - col : kCols;
  const uint64_t* x[kRows];
  const uint64_t* w[kCols];
  for (int r = 0; r < kRows; ++r) x[r] = p.x + (row + r) * p.words;
  for (int c = 0; c < kCols; ++c) w[c] = p.w + (col + (c < cols ? c : cols - 1)) * p.words;
  int64_t totals[kRows][kCols] = {};
  int64_t i = 0;
  while (i + 4 <= p.words) {
    __m256i bytes[kRows][kCols];
    MBOK_UNROLL
    for (int t = 0; t < kRows * kCols; ++t) bytes[t / kCols][t % kCols] = _mm256_setzero_si256();
    for (int64_t end = i + 4 * kSteps; i + 4 <= p.words && i < end; i += 4) {
      MBOK_UNROLL
      for (int t = 0; t < kRows * kCols; ++t) {
        const __m256i different = _mm256_xor_si256(load_words(x[t / kCols] + i), load_words(w[t % kCols] + i));
        bytes[t / kCols][t % kCols] = _mm256_add_epi8(bytes[t / kCols][t % kCols], popcount_bytes(different));
      }
    }
    MBOK_UNROLL
    for (int t = 0; t < kRows * kCols; ++t)
      totals[t / kCols][t % kCols] += sum_of(_mm256_sad_epu8(bytes[t / kCols][t % kCols], _mm256_setzero_si256()));
  }
  for (; i < p.words; ++i)
    for (int r = 0; r < kRows; ++r)
      for (int c = 0; c < kCols; ++c) totals[r][c] += __builtin_popcountll(x[r][i] ^ w[c][i]);
  for (int r = 0; r < kRows; ++r)
    for (int64_t c = 0; c < cols; ++c) {
      const float bias = p.bias != nullptr ? p.bias[col + c] : 0.0f;
      const float value = p.factor * static_cast<float>(p.depth - 2 * totals[r][c]) + bias;
      float* const y = p.y + (row + r) * p.y_stride + col + c;
      *y = p.accumulate ? *y + value : value;
    }
}

}  // namespace

void boolean_product(const BooleanProduct& p) {
  int64_t row = 0;
  for (; row + 2 <= p.rows; row += 2)
    for (int64_t col = 0; col < p.cols; col += kCols) tile<2>(p, row, col);
  if (row < p.rows)
    for (int64_t col = 0; col < p.cols; col += kCols) tile<1>(p, row, col);
}

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
