// Rebuilding multi-Boolean weights into a panel of the product micro-kernel (dense_product.h):
//
//   panel[d][j] = Σ_k along[k, d] · (bit j of signs[k, d] ? across[k, j] : −across[k, j]),   j < 64,
//
// summed in the order of k from zero with fused multiply-adds: every instruction set gives the same bits. Along the
// depth of Y = X·Ŵᵀ lies s_in and the signs are those of 64 rows, transposed; for dX = dY·Ŵ along is s_out and the
// signs are words of the bit matrix as they are. The bf16 table rounds the finished sums to nearest even and packs two
// neighbors of the depth in a step. The i8 table makes the block in 8 bits that dense_product.h describes, by way
// of the rotated weights in f32: the panel has to have room for those.
//
// Budget. Sixteen weights of one kernel cost a mask load, a masked xor and an FMA (AVX-512): 2 cycles at most, against
// 1024 for their products with 2048 tokens, so the rebuild is bound by nothing that matters. AVX2 spreads each byte to
// a sign mask (shuffle, and, compare): about 6 instructions for 8 weights; NEON needs 9 (two each of cmtst, fneg, bsl and
// fmla). In 8 bits a weight costs six sums of the rotation besides, and a product, a minimum, a conversion and a shift.
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

// Panels in bf16 from kernels in tiles (bit_tiles.h), in the same bits as boolean_panel_bf16's: what a matrix unit's
// product rebuilds between its tiles (dense_product.h), two numbers of the depth for 32 columns at a time.
//
// Budget. Such a piece is five loads a kernel (two of magnitudes, signs, two broadcasts), two tests, two shifts of masks,
// four masked xors and four FMAs, and six instructions that round, pair and store: 23 at K = 1, 74 at K = 4, of which 20
// are loads and 56 share the two vector ports. Tiles leave those ports idle and take 105 cycles for every tile of steps,
// bound by their loads; a piece in that time is nearly free as long as all of it fits into the scheduler (97 entries
// here). At 256 weights at a time, four times as rarely, all of it adds to the time of the tiles. Measured on Granite
// Rapids with 512 rows: K = 1 adds 8 % to the tiles, K = 4 16 %; before them, on its own, it was 16 and 45 %.
struct BooleanPanels {
  const uint8_t* tiles;  // kernel 0's block at the first panel and depth
  int64_t kernel_bytes, tile_bytes;  // from kernel to kernel, from panel to panel
  const float* along;  // of kernel k at depth d: along[k * along_stride + d]
  int64_t along_stride;
  const float* across;  // of kernel k and column j: across[k * across_stride + j]
  int64_t across_stride;
  int64_t kernels, cols, depth;  // columns of all panels
  float* panels;  // [panel][half][step][kStripCols]
  int64_t panel;  // from panel to panel: room for the steps of both halves
};
constexpr int64_t kStripCols = 32;

// out[j] bit i = rows[i · stride] bit j, for i < count ≤ 64 (rows from count on read as zero), j < 64.
// Budget (AVX-512): 64 words in 8 registers, six rounds of swaps, about 130 instructions: 0.03 a bit.
using BitTransposeFunction = void(const uint64_t* rows, int64_t stride, int64_t count, uint64_t* out);
extern const KernelTable<BitTransposeFunction> bit_transpose_table;

}  // namespace mbok
