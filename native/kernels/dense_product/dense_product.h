// C[rows, cols] (+)= Σ_d A[row, d] · B[d, col] for a block of the depth: the micro-kernel under every
// dense product.
//
// Layout. Depth is counted in steps of 32 bits: one float, for the bf16 table a pair of bf16 numbers (the earlier in the
// lower half; an odd depth ends with a zero), for the i8 table four bytes, the earliest lowest. A is read with any two
// strides, so that a row-major matrix needs no packing; B is panels of 64 columns a step, one for every
// 64 columns of C, aligned to 64 bytes, columns from `cols` on zero. In 8 bits a block of the depth is kInt8Steps at most: a row of A is that many steps of int8, the
// f32 scale of the block, and −128 times the sum of its numbers as an i32; B is kInt8Steps steps of bytes that hold
// their number plus 128, then the f32 scales of the 64 columns.
//
// Rotation. Real tokens have channels tens of times as large as the others, which would leave those few of the 8 bits. So
// both operands are multiplied by a Hadamard matrix, 64 numbers of the depth at a time, before they are rounded: it
// spreads what is large, and as Hᵀ·H = 64·I the product is the same but for a factor, which the scale of A undoes
// (Ashkboos et al., "QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs", 2024). The depth is padded to whole groups.
//
// Numerics. The f32 functions sum a block in the order of d with fused multiply-adds, from zero, and add the sum to C:
// every instruction set gives the same bits. The bf16 functions sum in f32 with the rounding of vdpbf16ps (pairs,
// subnormals flushed); scalar rounds like a CPU without that instruction would, so they agree to about 1e-6 of
// Σ|a·b|, the rounding of f32 sums. The i8 functions sum integers and fuse the product with both scales and its sum:
// every instruction set gives the same bits.
//
// Budget. AVX-512: 6 rows × 64 columns are 24 accumulators; a step costs 4 loads of B, 6 broadcasts of A and 24 FMAs,
// 12 cycles on two FMA ports against 10 loads on two load ports: bound by the multipliers. The panel (80 KiB a block)
// streams from L2 at 21 bytes a cycle. In 8 bits a step is four numbers; C is read and written every 256 of them, a
// sixteenth of the time. AVX2: 6 × 16, 12 accumulators, 2 loads, 6 broadcasts, 12 FMAs: the same bound, in 8 bits too.
// AVX2 without VNNI has no 8-bit candidate: 32 products of bytes whose sums must not saturate in 16 bits are four
// instructions (sign, multiply-add of bytes, of words, add), as many as the FMAs they would replace.
// NEON: 5 × 16, 20 accumulators of four; a step costs 4 loads of B, 5 of A and 20 fmla by an element, which need no
// broadcast: 10 cycles on two vector pipes. In 8 bits sdot does the same with four numbers a step, and 4 operations
// more that make B signed: 24 for 320 products. usmmla has twice as many products: tiles of 4 × 16, for two steps 8 loads of
// B (paired beforehand, once for all rows), 4 of A, 2 operations that put rows side by side and 16 usmmla: 18 for 512.
#pragma once

#include <cstdint>

#include "kernels/boolean_panel/boolean_panel.h"
#include "runtime/dispatch.h"

namespace mbok {

constexpr int64_t kPanelCols = 64;
constexpr int64_t kDepthBlock = 320;  // steps at most; C is read and written once a block
constexpr int64_t kInt8Steps = 64, kInt8RowSteps = kInt8Steps + 2;  // of a block in 8 bits, and with its scale and sum
constexpr int64_t kRotated = 64;  // numbers of 8-bit operands that are rotated together

struct ProductBlock {
  const void* a;
  int64_t a_row, a_depth;  // strides in 32-bit steps
  const void* b;
  float* c;
  int64_t c_stride;
  int64_t rows, cols, depth;  // depth in steps
  bool accumulate;            // add to what C holds
  const float* bias;          // [cols], added when not accumulating; may be null
  int64_t b_panel = 0;        // from a panel of B to the next, in steps of one column; nothing where there is one
  const void* next = nullptr;  // panels like B's that will be wanted after them; may be null
  // For the matrix unit of bf16 alone: panels to be rebuilt meanwhile, as it leaves the vector units idle; null for none.
  // There may be no rows.
  const BooleanPanels* rebuild = nullptr;
  bool rebuilt = false;  // b is what an earlier call rebuilt
};

using DenseProductFunction = void(const ProductBlock& block);
extern const KernelTable<DenseProductFunction> dense_product_f32_table;
extern const KernelTable<DenseProductFunction> dense_product_bf16_table;
extern const KernelTable<DenseProductFunction> dense_product_i8_table;

}  // namespace mbok
