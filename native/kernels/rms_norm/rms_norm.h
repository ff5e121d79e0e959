// RMSNorm y_rj = x_rj · ρ_r · v_j with ρ_r = 1 / √(mean_j x_rj² + ε) and v = offset + w (offset 1: Gemma stores v − 1).
// Its gradients:
//   dx_rj = ρ_r (dy_rj v_j − x_rj ρ_r² mean_i(dy_ri v_i x_ri)),  dw_j += Σ_r dy_rj x_rj ρ_r.
//
// Rows of `cols` floats are contiguous; any alignment. Sums over a row are f32 in the vector versions (one partial sum
// per lane), f64 in the scalar reference. Memory-bound: the second pass reads the row from L1.
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
MBOK_DECLARE_VECTOR(RmsNormFunction rms_norm; RmsNormGradientFunction rms_norm_gradient;)

extern const KernelTable<RmsNormFunction> rms_norm_table;
extern const KernelTable<RmsNormGradientFunction> rms_norm_gradient_table;

}  // namespace mbok
