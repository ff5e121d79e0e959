#include "kernels/dense_panel/candidates.h"
#include "kernels/simd/avx512.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {
namespace {

#include "kernels/dense_panel/columns_body.h"
#include "kernels/dense_panel/transpose16.h"

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

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
