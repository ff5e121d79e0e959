// Rebuilds multi-Boolean weights into a panel of the product micro-kernel (dense_product.h):
//
//   panel[d][j] = Σ_k along[k, d] · (bit j of signs[k, d] ? across[k, j] : −across[k, j]),   j < 64,
//
// Numerics. Kernels are summed in order from zero with fused multiply-adds, so every ISA gives the same bits. The bf16
// table rounds the finished sums to nearest even. The i8 table rotates the f32 weights and rounds them to 8 bits as
// dense_product.h describes; the panel needs room for the rotated f32 weights.
//
// Layout. For Y = X·Ŵᵀ the depth runs along s_in and the signs are those of 64 rows, transposed. For dX = dY·Ŵ the
// depth runs along s_out and the signs are words of the bit matrix. bf16 packs two neighbors of the depth into a step.
//
// Budget. Sixteen weights of one kernel cost a mask load, a masked xor and an FMA (AVX-512): at most 2 cycles, against
// 1024 for their products with 2048 tokens, so the rebuild is negligible. AVX2 spreads each byte to a sign mask
// (shuffle, and, compare): about 6 instructions for 8 weights. NEON needs 9: two each of cmtst, fneg, bsl and fmla, and
// a broadcast. In 8 bits a vector of weights also costs six additions of the rotation, a multiplication, a minimum, a
// conversion and a shift.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

struct BooleanPanel {
  const uint64_t* signs;  // of kernel k at depth d: signs[k * kernel_stride + d * depth_stride]
  int64_t kernel_stride, depth_stride;
  const float* along;  // of kernel k at depth d: along[k * along_stride + d]
  int64_t along_stride;
  const float* across;  // [kernels, 64], zero beyond the panel's columns
  int64_t kernels, depth;
};

using BooleanPanelFunction = void(const BooleanPanel& source, void* panel);
extern const KernelTable<BooleanPanelFunction> boolean_panel_f32_table;
extern const KernelTable<BooleanPanelFunction> boolean_panel_bf16_table;
extern const KernelTable<BooleanPanelFunction> boolean_panel_i8_table;

// Panels in bf16 from kernels in tiles (bit_tiles.h), bit-identical to boolean_panel_bf16's. The product of a matrix
// unit (dense_product.h) rebuilds them between its tile products, one piece at a time: two numbers of the depth for 32
// columns.
//
// Budget. A piece takes per kernel five loads (two of magnitudes, signs, two broadcasts), two tests, two mask shifts,
// four masked xors and four FMAs. Six instructions then round, pair and store: 23 at K = 1, 74 at K = 4. Of the 74, 20
// are loads, and 56 micro-operations share the two vector ports. Tile products leave these ports idle: a tile of steps
// takes 105 cycles, bound by its loads. A piece is nearly free as long as all of it fits the scheduler (97 entries on
// Granite Rapids). Pieces of 256 weights, a quarter as often, add all of their time. Measured there with 512 rows:
//
//   time added to the tiles        K = 1   K = 4
//   rebuilt between tile products    8 %    16 %
//   rebuilt before them             16 %    45 %
struct BooleanPanels {
  const uint8_t* tiles;              // kernel 0's block at the first panel and depth
  int64_t kernel_bytes, tile_bytes;  // distances from kernel to kernel and from panel to panel
  const float* along;                // of kernel k at depth d: along[k * along_stride + d]
  int64_t along_stride;
  const float* across;  // of kernel k and column j: across[k * across_stride + j]
  int64_t across_stride;
  int64_t kernels, cols, depth;  // cols: the columns of all panels
  float* panels;                 // [panel][half][step][kStripCols]
  int64_t panel;                 // distance from panel to panel: room for the steps of both halves
};
constexpr int64_t kStripCols = 32;

// Transposes 64 × 64 bits: out[j] bit i = rows[i · stride] bit j, for j < 64 and i < count ≤ 64; rows from count on
// read as zero. Budget (AVX-512): 64 words in 8 registers and six rounds of swaps, about 130 instructions, 0.03 per
// bit.
using BitTransposeFunction = void(const uint64_t* rows, int64_t stride, int64_t count, uint64_t* out);
extern const KernelTable<BitTransposeFunction> bit_transpose_table;

}  // namespace mbok
