#include "kernels/dense_panel/candidates.h"
#include "kernels/simd/avx512.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512_BF16
namespace mbok::avx512 {
namespace {

#include "kernels/dense_panel/transpose16.h"

constexpr int64_t kAhead = 16;  // prefetch distance in rows, which are too far apart for the hardware

// Rounds 32 numbers to bf16; `low` becomes the first sixteen.
MBOK_INLINE __m512i to_bf16(Vec low, Vec high) { return (__m512i)_mm512_cvtne2ps_pbh(high.v, low.v); }

MBOK_INLINE Vec load_left(const float* p, int64_t left) {
  return left >= 16 ? load(p) : left > 0 ? load_n(p, left) : zero();
}

}  // namespace

void dense_panel_rows_bf16(const PanelSource& s, void* panel) {
  float* out = static_cast<float*>(panel);
  for (int64_t item = 0; item < s.width; item += 16)
    for (int64_t d = 0; d < s.depth; d += 32) {
      __m512 block[16];
      MBOK_UNROLL
      for (int i = 0; i < 16; ++i) {
        block[i] = _mm512_setzero_ps();
        if (item + i < s.items) {
          const float* from = s.source + (item + i) * s.stride + d;
          block[i] = _mm512_castsi512_ps(to_bf16(load_left(from, s.depth - d), load_left(from + 16, s.depth - d - 16)));
        }
      }
      transpose16(block);
      MBOK_UNROLL
      for (int i = 0; i < 16; ++i)
        if (d + 2 * i < s.depth) _mm512_storeu_ps(out + (d / 2 + i) * s.width + item, block[i]);
    }
}

void dense_panel_columns_bf16(const PanelSource& s, void* panel) {
  // permutation 0, 16, 1, 17, … that interleaves two rows
  alignas(64) static const uint16_t kInterleave[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i interleave = _mm512_load_si512(kInterleave);
  float* out = static_cast<float*>(panel);
  for (int64_t d = 0; d < s.depth; d += 2, out += s.width) {
    const float* row = s.source + d * s.stride;
    for (int64_t item = 0; item < s.width; item += 16) {
      __builtin_prefetch(row + kAhead * s.stride + item);
      __builtin_prefetch(row + (kAhead + 1) * s.stride + item);
      const Vec low = load_left(row + item, s.items - item);
      const Vec high = d + 1 < s.depth ? load_left(row + s.stride + item, s.items - item) : zero();
      const __m512 pairs = _mm512_castsi512_ps(_mm512_permutexvar_epi16(interleave, to_bf16(low, high)));
      store_n(out + item, {pairs}, s.width - item < 16 ? s.width - item : 16);
    }
  }
}

void bf16_convert(const float* x, int64_t rows, int64_t cols, uint16_t* y) {
  const int64_t out_cols = (cols + 1) / 2 * 2;
  for (int64_t row = 0; row < rows; ++row, x += cols, y += out_cols)
    for (int64_t col = 0; col < out_cols; col += 32) {
      const __m512i numbers = to_bf16(load_left(x + col, cols - col), load_left(x + col + 16, cols - col - 16));
      const int64_t left = out_cols - col;
      _mm512_mask_storeu_epi16(y + col, left >= 32 ? ~0u : (1u << left) - 1, numbers);
    }
}

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
