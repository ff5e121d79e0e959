// y[r, i] = bias[i] + scale[i] · Σ_d x[r, d] · w[i, d] for one to eight rows r: each weight is read once and used for all
// rows. Weights lie in memory as f32, f16, bf16 or, with scales, as i8, and are widened in registers.
//
// Numerics. Every (r, i) sums lane by lane in the order of d, then halves the lanes: the same for any number of rows,
// not the same bits as scalar, which sums in the order of d (both within the rounding of f32 sums).
//
// Budget. One row, 8 outputs at a time: 8 FMAs with a memory operand and one load for 8 vectors of weights, 4 cycles,
// so one core consumes 128 bytes a cycle from L1 and waits for memory: bound by memory bandwidth. Eight rows, two
// outputs: 16 FMAs for 2 vectors of weights, 16 bytes a cycle, still faster than memory delivers. Narrow weights add a
// conversion (f16) or two (bf16: extend and shift; i8: extend and convert) a vector, of which one core does one or two a
// cycle: 32 bytes a cycle of f16, 16 of bf16 and i8, with one row.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

constexpr int64_t kDecodeRows = 8;  // at most

struct DenseDecode {
  const float* x;  // [rows, depth]
  int64_t rows, depth;
  const void* w;  // [outputs, depth], of the table's type
  int64_t outputs;
  const float* scales;  // [outputs] with i8, else unused
  const float* bias;  // [outputs] or null
  float* y;           // [rows, outputs], rows y_stride apart
  int64_t y_stride;
};

using DenseDecodeFunction = void(const DenseDecode& decode);
extern const KernelTable<DenseDecodeFunction> dense_decode_f32_table;
extern const KernelTable<DenseDecodeFunction> dense_decode_f16_table;
extern const KernelTable<DenseDecodeFunction> dense_decode_bf16_table;
extern const KernelTable<DenseDecodeFunction> dense_decode_i8_table;

}  // namespace mbok
