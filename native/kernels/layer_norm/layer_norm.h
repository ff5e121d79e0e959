// LayerNorm y_rj = x̂_rj w_j + b_j,  x̂_rj = (x_rj − μ_r) ρ_r,  ρ_r = 1 / √(mean_j (x_rj − μ_r)² + ε).
// Its gradients, with g = dy ⊙ w:
//   dx_rj = ρ_r (g_rj − mean_i g_ri − x̂_rj mean_i(g_ri x̂_ri)),  dw_j += Σ_r dy_rj x̂_rj,  db_j += Σ_r dy_rj.
//
// Rows of `cols` floats are contiguous; any alignment. Mean and variance take a pass each, so that a large mean loses
// no precision. Sums over a row are f32 in the vector versions (one partial sum per lane), f64 in the scalar reference.
// Memory-bound: the later passes read the row from L1.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

// b may be null.
using LayerNormFunction = void(const float* x, const float* w, const float* b, float* y, int64_t rows, int64_t cols,
                               float eps);
// dw and db may be null. dx may not alias dy or x.
using LayerNormGradientFunction = void(const float* dy, const float* x, const float* w, float* dx, float* dw, float* db,
                                       int64_t rows, int64_t cols, float eps);

namespace scalar {
LayerNormFunction layer_norm;
LayerNormGradientFunction layer_norm_gradient;
}  // namespace scalar
MBOK_DECLARE_VECTOR(LayerNormFunction layer_norm; LayerNormGradientFunction layer_norm_gradient;)

extern const KernelTable<LayerNormFunction> layer_norm_table;
extern const KernelTable<LayerNormGradientFunction> layer_norm_gradient_table;

}  // namespace mbok
