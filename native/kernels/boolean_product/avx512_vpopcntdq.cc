#include "kernels/boolean_product/boolean_product.h"
#include "kernels/simd/intrinsics.h"
#include "kernels/simd/target.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512_VPOPCNTDQ
namespace mbok::avx512 {
namespace {

// kGroups (1 or an even number) groups of eight columns; the last group may be partial.
template <int kRows, int kGroups>
MBOK_INLINE void tile(const BooleanProduct& p, int64_t row, int64_t col) {
  const uint64_t* const x = p.x + row * p.words;
  const uint64_t* const w = p.w + col * p.words;
  __m512i sums[kRows][kGroups];
  MBOK_UNROLL
  for (int r = 0; r < kRows; ++r) {
    MBOK_UNROLL
    for (int g = 0; g < kGroups; ++g) sums[r][g] = _mm512_setzero_si512();
  }
  for (int64_t i = 0; i < p.words; ++i) {
    __m512i columns[kGroups];
    MBOK_UNROLL
    for (int g = 0; g < kGroups; ++g) columns[g] = _mm512_loadu_si512(w + (g * p.words + i) * kPackedColumns);
    MBOK_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const __m512i word = _mm512_set1_epi64(static_cast<long long>(x[r * p.words + i]));
      MBOK_UNROLL
      for (int g = 0; g < kGroups; ++g)
        sums[r][g] = _mm512_add_epi64(sums[r][g], _mm512_popcnt_epi64(_mm512_xor_si512(word, columns[g])));
    }
  }
  // two groups side by side in 32-bit lanes: half the operations per output
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  MBOK_UNROLL
  for (int g = 0; g < kGroups; g += 2) {
    const int64_t first = col + g * kPackedColumns, left = p.cols - first;
    const int64_t most = kGroups == 1 ? kPackedColumns : 2 * kPackedColumns;
    const __mmask16 stored = static_cast<__mmask16>((1u << (left < most ? left : most)) - 1u);
    const __m512 bias = p.bias != nullptr ? _mm512_maskz_loadu_ps(stored, p.bias + first) : _mm512_setzero_ps();
    MBOK_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const __m512i sum = _mm512_permutex2var_epi32(sums[r][g], even, sums[r][kGroups == 1 ? g : g + 1]);
      const __m512i product = _mm512_sub_epi32(_mm512_set1_epi32(static_cast<int>(p.depth)), _mm512_slli_epi32(sum, 1));
      __m512 value = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(product), _mm512_set1_ps(p.factor)), bias);
      float* const y = p.y + (row + r) * p.y_stride + first;
      if (p.accumulate) value = _mm512_add_ps(_mm512_maskz_loadu_ps(stored, y), value);
      _mm512_mask_storeu_ps(y, stored, value);
    }
  }
}

template <int kGroups>
MBOK_INLINE void strip(const BooleanProduct& p, int64_t col) {
  int64_t row = 0;
  for (; row + 4 <= p.rows; row += 4) tile<4, kGroups>(p, row, col);
  for (; row < p.rows; ++row) tile<1, kGroups>(p, row, col);
}

}  // namespace

void boolean_product_vpopcntdq(const BooleanProduct& p) {
  int64_t col = 0;
  for (; p.cols - col > 3 * kPackedColumns; col += 4 * kPackedColumns) strip<4>(p, col);
  for (; col < p.cols; col += kPackedColumns) strip<1>(p, col);
}

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
