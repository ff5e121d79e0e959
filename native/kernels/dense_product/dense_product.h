// The micro-kernel of every dense product: C[rows, cols] (+)= Σ_d A[row, d] · B[d, col] for one block of the depth.
//
// Layout. The depth is counted in steps of 32 bits:
//
//   table   step                                                            depth padded to
//   f32     one float                                                       1 number
//   bf16    two numbers, the earlier in the lower half                      2 numbers
//   i8      four bytes, the earliest lowest                                 64 numbers
//
// A has any two strides, so a row-major matrix needs no packing. B consists of panels, one for every 64 columns of C,
// with 64 columns per step, aligned to 64 bytes; columns from `cols` on are zero. In 8 bits a block of the depth has at
// most kInt8Steps steps. A row of A is then kInt8Steps steps of int8, the f32 scale of the block, and −128 times the
// sum of its numbers as an i32. B is kInt8Steps steps of bytes (number + 128), then the f32 scales of the 64 columns.
//
// Rotation. Real hidden states have outlier channels tens of times as large as the others, which would leave the others
// few of the 8 bits. Both operands are therefore multiplied by a Hadamard matrix, 64 numbers of the depth at a time,
// before they are rounded. It spreads outliers; as Hᵀ·H = 64·I the product only gains a factor, which the scale of A
// removes (Ashkboos et al., "QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs", 2024).
//
// Numerics. The f32 functions sum a block in the order of d from zero with fused multiply-adds, then add the sum to C.
// The i8 functions sum integers, then one fused multiply-add applies both scales and adds to C. Both give the same bits
// on every ISA. The bf16 functions sum in f32 with the rounding of vdpbf16ps (pairs, subnormals flushed). Scalar rounds
// like a CPU without that instruction. They agree to about 1e-6 of Σ|a·b|, the rounding of f32 sums.
//
// Budget. Per step of a tile:
//
//                tile     accumulators   operations                             products   cycles
//   AVX-512      6 × 64   24             4 loads of B, 6 broadcasts, 24 FMA          384   12 on 2 FMA ports
//   AVX2         6 × 16   12             2 loads of B, 6 broadcasts, 12 FMA           96   6 on 2 FMA ports
//   NEON         5 × 16   20 (of four)   4 loads of B, 5 of A, 20 fmla                80   10 on 2 vector pipes
//   NEON sdot    5 × 16   20             4 loads of B, 5 of A, 4 eor, 20 sdot        320   12 on 2 vector pipes
//   NEON usmmla  4 × 16   16             4 loads of B, 2 of A, 1 combine, 8 usmmla   256   4.5 on 2 vector pipes
//
// The multipliers bound x86, in 8 bits too: AVX-512 has 10 loads in 12 cycles on two load ports. On NEON, fmla by
// element needs no broadcast, and usmmla takes two steps at once, with pairs of B's steps formed once for all rows.
//
// AVX2 without VNNI has no 8-bit candidate. 32 byte products whose sums must not saturate in 16 bits take four
// instructions (sign, multiply-add of bytes, of words, add), as many as the FMAs they would replace.
//
// A panel (80 KiB per block in f32) streams from L2 at 21 bytes per cycle (AVX-512). In 8 bits C is read and written
// every 256 numbers, 1/16 of the time.
#pragma once

#include <cstdint>

#include "kernels/boolean_panel/boolean_panel.h"
#include "runtime/dispatch.h"

namespace mbok {

constexpr int64_t kPanelCols = 64;
constexpr int64_t kDepthBlock = 320;  // maximal steps; C is read and written once per block
constexpr int64_t kInt8Steps = 64, kInt8RowSteps = kInt8Steps + 2;  // steps of an 8-bit block; with its scale and sum
constexpr int64_t kRotated = 64;  // numbers of an 8-bit operand that are rotated together

struct ProductBlock {
  const void* a;
  int64_t a_row, a_depth;  // strides in 32-bit steps
  const void* b;
  float* c;
  int64_t c_stride;
  int64_t rows, cols, depth;   // depth in steps
  bool accumulate;             // add to C
  const float* bias;           // [cols], added when not accumulating; may be null
  int64_t b_panel = 0;         // distance between panels of B in 32-bit words; unused for a single panel
  const void* next = nullptr;  // panels like B's to prefetch; may be null
  // For the bf16 matrix unit only: panels to rebuild between its products, as it leaves the vector units idle; null for
  // none. There may be no rows.
  const BooleanPanels* rebuild = nullptr;
  bool rebuilt = false;  // an earlier call rebuilt b
};

using DenseProductFunction = void(const ProductBlock& block);
extern const KernelTable<DenseProductFunction> dense_product_f32_table;
extern const KernelTable<DenseProductFunction> dense_product_bf16_table;
extern const KernelTable<DenseProductFunction> dense_product_i8_table;

}  // namespace mbok
