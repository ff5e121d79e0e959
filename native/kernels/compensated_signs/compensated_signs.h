// Chooses signs with error compensation for 64 rows by a block of up to 128 columns. For every row, column by column:
//   x = w_l − Σ_{j<l} e_j u_jl  (j within the block),
//   the level Σₖ ± s_out[k] s_in[k]_l nearest to x is chosen (as in kernels/refit/refit.h),
//   e_l = (x − level) / u_ll.
// Errors are stored negated, so that the columns after the block add errors · U, one matrix product.
//
// Layout. Rows lie in lanes. The block is transposed on the way in, and the signs of 64 rows are one word per column.
// An element of U in a register serves 64 rows. The sum is left-looking, so x stays in registers.
//
// Budget. Column l costs l loads and l fma per 16 rows (AVX-512) and l broadcasts per 64 rows: 64 fma per element on
// average in a block of 128 columns. The product after the block costs n / 2 fma per element and dominates.
//
// Numerics. All ISAs round alike (fma in the sum over rising j), because one different choice would change all later
// ones.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

constexpr int64_t kCompensationRows = 64;
constexpr int64_t kCompensationCols = 128;

struct CompensationBlock {
  int64_t rows, cols;  // 1 … 64, 1 … 128
  const float* w;      // row r at w + r · w_stride
  int64_t w_stride;
  const float* u;  // element (j, l) of the block's diagonal part at u[j · u_stride + l]
  int64_t u_stride;
  const float* s_out;  // kernel k, row r: s_out[k · s_out_stride + r]
  int64_t s_out_stride;
  const float* s_in;  // kernel k, column l: s_in[k · s_in_stride + l]
  int64_t s_in_stride;
  int kernels;      // 1 … 8
  float* errors;    // −e, row r at errors + r · 128
  uint64_t* signs;  // kernel k, column l: signs[k · signs_stride + l], row r in bit r (zero beyond the rows)
  int64_t signs_stride;
};

using CompensateFunction = void(const CompensationBlock& block);

namespace scalar {
CompensateFunction compensate;
}
MBOK_DECLARE_VECTOR(CompensateFunction compensate;)

extern const KernelTable<CompensateFunction> compensate_table;

}  // namespace mbok
