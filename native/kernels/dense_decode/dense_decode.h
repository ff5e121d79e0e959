// y[r, i] = bias[i] + Σ_d x[r, d] · w[i, d] for one to eight rows r: each weight is read once and used for all rows.
//
// Numerics. Every (r, i) sums lane by lane in the order of d, then halves the lanes: the same for any number of rows,
// not the same bits as scalar, which sums in the order of d (both within the rounding of f32 sums).
//
// Budget. One row, 8 outputs at a time: 8 FMAs with a memory operand and one load for 8 vectors of weights, 4 cycles,
// so one core consumes 128 bytes a cycle from L1 and waits for memory: bound by memory bandwidth. Eight rows, two
// outputs: 16 FMAs for 2 vectors of weights, 16 bytes a cycle, still faster than memory delivers.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

constexpr int64_t kDecodeRows = 8;  // at most

struct DenseDecode {
  const float* x;  // [rows, depth]
  int64_t rows, depth;
  const float* w;  // [outputs, depth]
  int64_t outputs;
  const float* bias;  // [outputs] or null
  float* y;           // [rows, outputs], rows y_stride apart
  int64_t y_stride;
};

using DenseDecodeFunction = void(const DenseDecode& decode);
extern const KernelTable<DenseDecodeFunction> dense_decode_table;

}  // namespace mbok
