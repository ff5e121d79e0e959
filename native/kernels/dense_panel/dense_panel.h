// Packs dense matrices for the product micro-kernel (dense_product.h), as f32 or rounded to bf16 (nearest, ties to
// even) with two neighbors of the depth in one 32-bit step.
//
//   rows:     source[item][d] → panel[step][item]; the depth runs along the source's rows. Transposes blocks in
//             registers. Bound by the shuffle port:
//
//                                 block      shuffles for 256 steps
//               AVX-512           16 × 16                        64
//               AVX2              8 × 8                          96
//               NEON              4 × 4                         128
//
//   columns:  source[d][item] → panel[step][item]; a copy, for bf16 an interleave of two rows. Bound by L2 and memory.
//   convert:  f32 → bf16 rows, order unchanged. Bound by memory.
//   int8:     a row of f32 → 8-bit blocks as in dense_product.h, rotated and rounded to nearest (ties to even) with
//             scale max |x| / 127. A block that is not finite gets scale NaN. Bound by the rotation: 14 (AVX-512) or
//             15 (AVX2) operations per vector.
//
// Items from `items` to the panel's width, and the missing half of an odd depth, become zero.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

struct PanelSource {
  const float* source;
  int64_t stride;  // row stride of the source, in floats
  int64_t items;   // at most width
  int64_t depth;   // in floats
  int64_t width;   // of the panel, in steps; a multiple of 16 and at most 64 for `rows`
};

using DensePanelFunction = void(const PanelSource& source, void* panel);
extern const KernelTable<DensePanelFunction> dense_panel_rows_f32_table;
extern const KernelTable<DensePanelFunction> dense_panel_rows_bf16_table;
extern const KernelTable<DensePanelFunction> dense_panel_columns_f32_table;
extern const KernelTable<DensePanelFunction> dense_panel_columns_bf16_table;

// y[row, 0 … 2·⌈cols/2⌉) = bf16(x[row, ·]), padded with zero.
using Bf16ConvertFunction = void(const float* x, int64_t rows, int64_t cols, uint16_t* y);
extern const KernelTable<Bf16ConvertFunction> bf16_convert_table;

// y = ⌈cols / 256⌉ blocks of kInt8RowSteps steps; numbers from cols on are zero.
using Int8RowFunction = void(const float* x, int64_t cols, void* y);
extern const KernelTable<Int8RowFunction> int8_row_table;

}  // namespace mbok
