// The two passes of SVID: sign(R) ⊙ (best rank-1 approximation of |R|).
//
// magnitude_step: one round of power iteration on |R|ᵀ|R| over a block of rows,
//   u_i = Σⱼ |r_ij| v_j,  sum_j = Σᵢ u_i |r_ij| (overwritten, not accumulated).
//   A row is read twice, the second time from L1, so a round costs one pass over memory. All f64: the rounds must
//   converge until the singular vectors are accurate to 1e-6. All terms are ≥ 0, so no cancellation hides an error.
// extract_row: b = sign(r) (+1 for 0), out_j = r_j − b_j s_out s_in_j; returns Σⱼ out_j². out may be r.
//
// Rows of n floats are contiguous; rows of bits are whole words with zero padding. Any alignment.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

using MagnitudeStepFunction = void(const float* r, int64_t rows, int64_t n, const double* v, double* u, double* sum);
using ExtractRowFunction = double(const float* r, float s_out, const float* s_in, int64_t n, uint64_t* bits,
                                  float* out);

namespace scalar {
MagnitudeStepFunction magnitude_step;
ExtractRowFunction extract_row;
}  // namespace scalar
MBOK_DECLARE_VECTOR(MagnitudeStepFunction magnitude_step; ExtractRowFunction extract_row;)

extern const KernelTable<MagnitudeStepFunction> magnitude_step_table;
extern const KernelTable<ExtractRowFunction> extract_row_table;

}  // namespace mbok
