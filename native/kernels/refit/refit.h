// The passes of the joint refit of W ≈ Σₖ diag(s_out[k]) B[k] diag(s_in[k]) (operations/refit.cc).
//
// nearest_levels   signs: chooses the one of the 2^K levels Σₖ ± s_out[k] s_in[k]_j nearest to w_j; writes whole words.
//                  Levels come in pairs ±L, so |w_j| is compared with |L| over the codes whose last bit is 1, and the
//                  code is complemented if sign(L) ≠ sign(w). Levels are summed in f32 from the last kernel to the
//                  first. Ties go to the first level in that order, + before −. The same bits on every ISA.
// row_sums         rows: with P[k]_j = b[k]_j s_in[k]_j, gram[k·K+l] = Σⱼ P[k]P[l], moment[k] = Σⱼ P[k]_j w_j.
// column_sums      columns: for each of up to 64 columns in one word of bits and for `rows` rows, adds
//                  gram[(k·K+l)·64 + j] += P[k]P[l] for k < l and moment[k·64 + j] += P[k] w with
//                  P[k]_i = b[k]_ij s_out[k]_i. The diagonal of gram, Σᵢ s_out[k]_i², is the same for every column.
// residual_row     out_j = w_j − Σₖ s_out[k] b[k]_j s_in[k]_j (out may be null, or w); returns Σⱼ out_j².
// design_row       out_j = b_j s_in_j: one row of P[k].
//
// Numerics. Sums are f64, because K × K systems of nearly parallel kernels lose more digits than f32 has.
//
// Budget per 16 columns (AVX-512). nearest_levels: 2^K sums of levels and 2^(K−1) × 7 operations to compare them.
// row_sums: K²/2 + 3K/2 fused products on two registers each; column_sums: K²/2 + K/2. Both stay in registers up to K =
// 4. A whole round takes about 0.5 ns per weight and core at K = 2.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

constexpr int kMaxRefitKernels = 8;  // 2^(K−1) levels are compared in unrolled code

// One row of a multi-Boolean matrix. Its first column is a multiple of 64.
template <class Word>
struct CodeRow {
  Word* bits;           // kernel k's words at bits + k · bits_stride
  int64_t bits_stride;  // in words
  const float* s_out;   // [K]
  const float* s_in;    // kernel k's scales at s_in + k · s_in_stride
  int64_t s_in_stride;
  int kernels;  // K, 1 … kMaxRefitKernels
};

// A strip of up to 64 columns over several rows.
struct CodeStrip {
  const uint64_t* bits;  // kernel k, row i: bits[k · kernel_stride + i · row_stride]
  int64_t kernel_stride, row_stride;
  const float* s_out;  // kernel k, row i: s_out[k · s_out_stride + i]
  int64_t s_out_stride;
  int kernels;
};

using NearestLevelsFunction = void(const float* w, const CodeRow<uint64_t>& row, int64_t n);
using RowSumsFunction = void(const float* w, const CodeRow<const uint64_t>& row, int64_t n, double* gram,
                             double* moment);
using ColumnSumsFunction = void(const float* w, int64_t w_stride, int64_t rows, const CodeStrip& strip, int64_t cols,
                                double* gram, double* moment);
using ResidualRowFunction = double(const float* w, const CodeRow<const uint64_t>& row, int64_t n, float* out);
using DesignRowFunction = void(const uint64_t* bits, const float* s_in, int64_t n, float* out);

#define MBOK_REFIT_FUNCTIONS            \
  NearestLevelsFunction nearest_levels; \
  RowSumsFunction row_sums;             \
  ColumnSumsFunction column_sums;       \
  ResidualRowFunction residual_row;     \
  DesignRowFunction design_row;
namespace scalar {
MBOK_REFIT_FUNCTIONS
// Returns the code of the level nearest to w, bit k set for + in kernel k, given the kernels' magnitudes; writes the
// level.
unsigned nearest_code(float w, const float* magnitude, int kernels, float* level);
}  // namespace scalar
MBOK_DECLARE_VECTOR(MBOK_REFIT_FUNCTIONS)
#undef MBOK_REFIT_FUNCTIONS

extern const KernelTable<NearestLevelsFunction> nearest_levels_table;
extern const KernelTable<RowSumsFunction> row_sums_table;
extern const KernelTable<ColumnSumsFunction> column_sums_table;
extern const KernelTable<ResidualRowFunction> residual_row_table;
extern const KernelTable<DesignRowFunction> design_row_table;

}  // namespace mbok
