// C[rows, cols] (+)= Σ_d A[row, d] · B[d, col] for cols ≤ 64 and a block of the depth: the micro-kernel under every
// dense product.
//
// Layout. Depth is counted in steps of 32 bits: one float, or for the bf16 table a pair of bf16 numbers (the earlier
// in the lower half; an odd depth ends with a zero). A is read with any two strides, so that a row-major matrix needs
// no packing; B is a panel, 64 columns a step, aligned to 64 bytes, columns from `cols` on zero.
//
// Numerics. The f32 functions sum a block in the order of d with fused multiply-adds, from zero, and add the sum to C:
// every instruction set gives the same bits. The bf16 functions sum in f32 with the rounding of vdpbf16ps (pairs,
// subnormals flushed); scalar rounds like a CPU without that instruction would, so they agree to about 1e-6 of
// Σ|a·b|, the rounding of f32 sums.
//
// Budget. AVX-512: 6 rows × 64 columns are 24 accumulators; a step costs 4 loads of B, 6 broadcasts of A and 24 FMAs,
// 12 cycles on two FMA ports against 10 loads on two load ports: bound by the multipliers. The panel (64 KiB a block)
// streams from L2 at 21 bytes a cycle. AVX2: 6 × 16, 12 accumulators, 2 loads, 6 broadcasts, 12 FMAs: the same bound.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

constexpr int64_t kPanelCols = 64;
constexpr int64_t kDepthBlock = 256;  // steps; C is read and written once a block

struct ProductBlock {
  const void* a;
  int64_t a_row, a_depth;  // strides in 32-bit steps
  const void* b;
  float* c;
  int64_t c_stride;
  int64_t rows, cols, depth;  // depth in steps
  bool accumulate;            // add to what C holds
  const float* bias;          // [cols], added when not accumulating; may be null
};

using DenseProductFunction = void(const ProductBlock& block);
extern const KernelTable<DenseProductFunction> dense_product_f32_table;
extern const KernelTable<DenseProductFunction> dense_product_bf16_table;

}  // namespace mbok
