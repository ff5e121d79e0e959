// Dense decode for one to eight rows r: y[r, i] = bias[i] + scale[i] · Σ_d x[r, d] · w[i, d]. Every weight is read once
// and used for all rows. Weights in memory are f32, f16, bf16, i8 with scales, or q8 (kernels/q8); registers hold f32.
//
// Numerics. Every (r, i) sums into four vectors in turn, then these and their lanes in pairs. The result does not
// depend on the number of rows. It differs from scalar, which sums in the order of d, within f32 rounding.
//
// Streams. One output at a time, so that a core reads one stream of weights, prefetched some KiB ahead. Eight outputs
// would load x an eighth as often, but their eight streams from memory are slower by a third (Zen 5). Intel's cores
// have few outstanding reads, so two streams are a sixth faster than one there.
//
// Budget. A vector of 16 weights costs a load with conversion, an FMA with x from L1 and a share of the prefetch:
//
//             conversion of 16 weights (AVX-512)   bytes   cycles
//   f32       none                                    64        1
//   f16       1 operation                             32        1
//   bf16      2 operations                            32        1
//   i8        2 operations                            16        1
//   q8        2 operations and a multiplication       17        2
//
// Each row adds an FMA. More than four rows (AVX2, NEON: two) read the weights again, from L1. NEON's registers hold
// four floats: 16 weights cost 4 FMAs, 4 loads of x and 4 (f16, bf16) or 10 (i8) conversions.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

constexpr int64_t kDecodeRows = 8;  // maximum

struct DenseDecode {
  const float* x;  // [rows, depth]
  int64_t rows, depth;
  const void* w;  // [outputs, depth], of the table's type; for q8 the depth is a multiple of 32
  int64_t outputs;
  const float* scales;  // [outputs] with i8; null otherwise
  const float* bias;    // [outputs] or null
  float* y;             // [rows, outputs], row stride y_stride
  int64_t y_stride;
  int64_t ahead = 0;    // prefetch distance of weights in bytes
  bool halves = false;  // a single row reads two streams: both halves of the outputs
};

using DenseDecodeFunction = void(const DenseDecode& decode);
extern const KernelTable<DenseDecodeFunction> dense_decode_f32_table;
extern const KernelTable<DenseDecodeFunction> dense_decode_f16_table;
extern const KernelTable<DenseDecodeFunction> dense_decode_bf16_table;
extern const KernelTable<DenseDecodeFunction> dense_decode_i8_table;
extern const KernelTable<DenseDecodeFunction> dense_decode_q8_table;

}  // namespace mbok
