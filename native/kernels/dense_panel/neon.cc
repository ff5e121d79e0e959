#include "kernels/dense_panel/candidates.h"
#include "kernels/simd/neon.h"

#if defined(MBOK_NEON)
namespace mbok::neon {
namespace {

#include "kernels/dense_panel/columns_body.h"

}  // namespace

void dense_panel_rows_f32(const PanelSource& s, void* panel) {
  float* out = static_cast<float*>(panel);
  for (int64_t item = 0; item < s.width; item += 4)
    for (int64_t d = 0; d < s.depth; d += 4) {
      const int64_t left = s.depth - d < 4 ? s.depth - d : 4;
      float32x4_t block[4];
      MBOK_UNROLL
      for (int i = 0; i < 4; ++i)
        block[i] = item + i < s.items ? load_four(s.source + (item + i) * s.stride + d, left) : vdupq_n_f32(0);
      transpose_four(block);
      MBOK_UNROLL
      for (int i = 0; i < 4; ++i)
        if (i < left) vst1q_f32(out + (d + i) * s.width + item, block[i]);
    }
}

void dense_panel_columns_f32(const PanelSource& s, void* panel) { copy_columns(s, static_cast<float*>(panel)); }

}  // namespace mbok::neon
#endif
