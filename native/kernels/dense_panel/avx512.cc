#include "kernels/dense_panel/candidates.h"
#include "kernels/dense_product/dense_product.h"
#include "kernels/simd/avx512.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {
namespace {

#include "kernels/dense_panel/columns_body.h"
#include "kernels/dense_panel/transpose16.h"
#include "kernels/simd/round_block_body.h"

// Rotates sixteen numbers: sums and differences of lanes 1, 2, 4 and 8 apart.
MBOK_INLINE Vec rotate_lanes(Vec a) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  MBOK_UNROLL
  for (int apart = 1; apart < 16; apart *= 2) {
    const __m512i apart_lanes = _mm512_set1_epi32(apart);
    const Vec partner = {_mm512_permutexvar_ps(_mm512_xor_si512(lanes, apart_lanes), a.v)};
    const __mmask16 high = _mm512_test_epi32_mask(lanes, apart_lanes);
    a = {_mm512_mask_sub_ps(_mm512_add_ps(a.v, partner.v), high, partner.v, a.v)};
  }
  return a;
}

MBOK_INLINE void store_bytes(char* to, Vec whole) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(whole.v)));
}

#include "kernels/dense_panel/int8_body.h"

}  // namespace

void dense_panel_rows_f32(const PanelSource& s, void* panel) {
  float* out = static_cast<float*>(panel);
  for (int64_t item = 0; item < s.width; item += 16)
    for (int64_t d = 0; d < s.depth; d += 16) {
      const int64_t left = s.depth - d < 16 ? s.depth - d : 16;
      __m512 block[16];
      MBOK_UNROLL
      for (int i = 0; i < 16; ++i)
        block[i] = item + i < s.items ? load_n(s.source + (item + i) * s.stride + d, left).v : _mm512_setzero_ps();
      transpose16(block);
      MBOK_UNROLL
      for (int i = 0; i < 16; ++i)
        if (i < left) _mm512_storeu_ps(out + (d + i) * s.width + item, block[i]);
    }
}

void dense_panel_columns_f32(const PanelSource& s, void* panel) { copy_columns(s, static_cast<float*>(panel)); }

void int8_row(const float* x, int64_t cols, void* y) { round_row(x, cols, static_cast<char*>(y)); }

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
