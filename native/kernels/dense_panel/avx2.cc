#include "kernels/dense_panel/candidates.h"
#include "kernels/dense_product/dense_product.h"
#include "kernels/simd/avx2.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
namespace {

#include "kernels/dense_panel/columns_body.h"
#include "kernels/simd/round_block_body.h"

MBOK_INLINE void transpose8(__m256 r[8]) {
  __m256 t[8], u[8];
  MBOK_UNROLL
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  MBOK_UNROLL
  for (int i = 0; i < 2; ++i) {
    u[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
    u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
    u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
    u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
  }
  MBOK_UNROLL
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
    r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
  }
}

// Rotates eight numbers: sums and differences of lanes 1, 2 and 4 apart.
MBOK_INLINE Vec rotate_lanes(Vec a) {
  const __m256 near = _mm256_permute_ps(a.v, 0xb1);
  a = {_mm256_blend_ps(_mm256_add_ps(a.v, near), _mm256_sub_ps(near, a.v), 0xaa)};
  const __m256 pairs = _mm256_permute_ps(a.v, 0x4e);
  a = {_mm256_blend_ps(_mm256_add_ps(a.v, pairs), _mm256_sub_ps(pairs, a.v), 0xcc)};
  const __m256 halves = _mm256_permute2f128_ps(a.v, a.v, 0x01);
  return {_mm256_blend_ps(_mm256_add_ps(a.v, halves), _mm256_sub_ps(halves, a.v), 0xf0)};
}

MBOK_INLINE void store_bytes(char* to, Vec whole) {
  const __m256i numbers = _mm256_cvtps_epi32(whole.v);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(numbers), _mm256_extracti128_si256(numbers, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packs_epi16(words, words));
}

#include "kernels/dense_panel/int8_body.h"

}  // namespace

void dense_panel_rows_f32(const PanelSource& s, void* panel) {
  float* out = static_cast<float*>(panel);
  for (int64_t item = 0; item < s.width; item += 8)
    for (int64_t d = 0; d < s.depth; d += 8) {
      const int64_t left = s.depth - d < 8 ? s.depth - d : 8;
      __m256 block[8];
      MBOK_UNROLL
      for (int i = 0; i < 8; ++i)
        block[i] = item + i < s.items ? load_n(s.source + (item + i) * s.stride + d, left).v : _mm256_setzero_ps();
      transpose8(block);
      MBOK_UNROLL
      for (int i = 0; i < 8; ++i)
        if (i < left) _mm256_storeu_ps(out + (d + i) * s.width + item, block[i]);
    }
}

void dense_panel_columns_f32(const PanelSource& s, void* panel) { copy_columns(s, static_cast<float*>(panel)); }

void int8_row(const float* x, int64_t cols, void* y) { round_row(x, cols, static_cast<char*>(y)); }

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
