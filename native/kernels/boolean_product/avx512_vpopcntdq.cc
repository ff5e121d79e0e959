// Tiles of 4 rows by 4 columns, for the last rows 1 by 8: whole multiples of the eight accumulators that one reduction
// takes. Words beyond a multiple of 8 by masked loads.
#include "kernels/boolean_product/boolean_product.h"
#include "kernels/simd/intrinsics.h"
#include "kernels/simd/target.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512_VPOPCNTDQ
namespace mbok::avx512 {
namespace {

// The eight sums over the lanes of a[0] … a[7]: three rounds of adding neighbours.
MBOK_INLINE __m512i reduce(const __m512i* a) {
  __m512i pairs[4];
  MBOK_UNROLL
  for (int i = 0; i < 4; ++i)
    pairs[i] = _mm512_add_epi64(_mm512_unpacklo_epi64(a[2 * i], a[2 * i + 1]),
                                _mm512_unpackhi_epi64(a[2 * i], a[2 * i + 1]));
  const __m512i low = _mm512_add_epi64(_mm512_shuffle_i64x2(pairs[0], pairs[1], 0x88),
                                       _mm512_shuffle_i64x2(pairs[0], pairs[1], 0xdd));
  const __m512i high = _mm512_add_epi64(_mm512_shuffle_i64x2(pairs[2], pairs[3], 0x88),
                                        _mm512_shuffle_i64x2(pairs[2], pairs[3], 0xdd));
  return _mm512_add_epi64(_mm512_shuffle_i64x2(low, high, 0x88), _mm512_shuffle_i64x2(low, high, 0xdd));
}

// Eight neighbouring outputs of one row, or four of two rows. Columns beyond the edge repeat the last one and are not
// stored.
template <int kRows, int kCols>
MBOK_INLINE void tile(const BooleanProduct& p, int64_t row, int64_t col) {
  const int64_t cols = p.cols - col < kCols ? p.cols - col : kCols;
  const uint64_t* const x = p.x + row * p.words;
  const uint64_t* w[kCols];
  for (int c = 0; c < kCols; ++c) w[c] = p.w + (col + (c < cols ? c : cols - 1)) * p.words;
  __m512i sums[kRows * kCols];
  MBOK_UNROLL
  for (int t = 0; t < kRows * kCols; ++t) sums[t] = _mm512_setzero_si512();
  for (int64_t i = 0; i < p.words; i += 8) {
    const int64_t left = p.words - i;
    const __mmask8 lanes = left >= 8 ? static_cast<__mmask8>(0xff) : static_cast<__mmask8>((1u << left) - 1u);
    __m512i rows[kRows];
    MBOK_UNROLL
    for (int r = 0; r < kRows; ++r) rows[r] = _mm512_maskz_loadu_epi64(lanes, x + r * p.words + i);
    MBOK_UNROLL
    for (int c = 0; c < kCols; ++c) {
      const __m512i column = _mm512_maskz_loadu_epi64(lanes, w[c] + i);
      MBOK_UNROLL
      for (int r = 0; r < kRows; ++r)
        sums[r * kCols + c] =
            _mm512_add_epi64(sums[r * kCols + c], _mm512_popcnt_epi64(_mm512_xor_si512(rows[r], column)));
    }
  }
  const __mmask8 stored = static_cast<__mmask8>((1u << cols) - 1u);
  const __m256 bias = p.bias != nullptr ? _mm256_maskz_loadu_ps(stored, p.bias + col) : _mm256_setzero_ps();
  MBOK_UNROLL
  for (int t = 0; t < kRows * kCols; t += 8) {
    const __m512i product = _mm512_sub_epi64(_mm512_set1_epi64(p.depth), _mm512_slli_epi64(reduce(sums + t), 1));
    __m256 values = _mm256_mul_ps(_mm512_cvtepi64_ps(product), _mm256_set1_ps(p.factor));
    for (int r = t / kCols; r < (t + 8) / kCols; ++r) {
      float* const y = p.y + (row + r) * p.y_stride + col;
      __m256 value = _mm256_add_ps(values, bias);
      if (p.accumulate) value = _mm256_add_ps(_mm256_maskz_loadu_ps(stored, y), value);
      _mm256_mask_storeu_ps(y, stored, value);
      values = _mm256_permute2f128_ps(values, values, 1);  // the second row, where a register holds two
    }
  }
}

}  // namespace

void boolean_product_vpopcntdq(const BooleanProduct& p) {
  int64_t row = 0;
  for (; row + 4 <= p.rows; row += 4)
    for (int64_t col = 0; col < p.cols; col += 4) tile<4, 4>(p, row, col);
  for (; row < p.rows; ++row)
    for (int64_t col = 0; col < p.cols; col += 8) tile<1, 8>(p, row, col);
}

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
