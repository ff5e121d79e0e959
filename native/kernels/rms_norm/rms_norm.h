// y_rj = x_rj · ρ_r · v_j,  ρ_r = 1 / √(mean_j x_rj² + ε),  v = offset + w (offset 1: Gemma stores v − 1), and its gradients
//   dx_rj = ρ_r (dy_rj v_j − x_rj ρ_r² mean_i(dy_ri v_i x_ri)),  dw_j += Σ_r dy_rj x_rj ρ_r.
//
// Rows of `cols` floats follow one another; no alignment needed. Sums over a row are f32 in the vector versions (one
// partial sum a lane), f64 in the reference. Two passes over a row that is in L1 by the second: memory bound.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

using RmsNormFunction = void(const float* x, const float* w, float* y, int64_t rows, int64_t cols, float eps,
                             float offset);
// dw may be null. dx may not alias dy or x.
using RmsNormGradientFunction = void(const float* dy, const float* x, const float* w, float* dx, float* dw,
                                     int64_t rows, int64_t cols, float eps, float offset);

namespace scalar {
RmsNormFunction rms_norm;
RmsNormGradientFunction rms_norm_gradient;
}  // namespace scalar
MBOK_DECLARE_VECTOR(
RmsNormFunction rms_norm;
RmsNormGradientFunction rms_norm_gradient;
)

extern const KernelTable<RmsNormFunction> rms_norm_table;
extern const KernelTable<RmsNormGradientFunction> rms_norm_gradient_table;

}  // namespace mbok
