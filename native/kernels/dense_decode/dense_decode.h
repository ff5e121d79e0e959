// y[r, i] = bias[i] + scale[i] · Σ_d x[r, d] · w[i, d] for one to eight rows r: each weight is read once and used for all
// rows. Weights lie in memory as f32, f16, bf16, with scales as i8, or as q8 (kernels/q8), and are widened in registers.
//
// Numerics. Every (r, i) sums in four vectors of lanes that take turns, then those and their lanes in pairs: the same for
// any number of rows, not the same bits as scalar, which sums in the order of d (both within the rounding of f32 sums).
//
// Budget. One output at a time, so that a core reads its weights as one stream, prefetched some KB ahead: eight outputs
// would load x an eighth as often, but their eight streams from memory are slower by a third (Zen 5). On Intel, where a core
// has few reads under way, two streams are a sixth faster than one. A vector of 16 weights is a
// load with its conversion (f16: one operation, bf16 and i8: two, q8: two and a product), an FMA with x from L1 and its
// share of the prefetch: about a cycle, 64 bytes of f32, 32 of f16 and bf16, 16 of i8; q8 takes two for 17. Rows add an FMA each; of more than four (AVX2 and NEON:
// two) the weights are read again, from L1. NEON's registers hold four floats: 16 weights are 4 FMAs and 4 loads of x; their
// own conversions are 4 operations for f16 and bf16, 10 for i8.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

constexpr int64_t kDecodeRows = 8;  // at most

struct DenseDecode {
  const float* x;  // [rows, depth]
  int64_t rows, depth;
  const void* w;  // [outputs, depth], of the table's type; for q8 the depth is a multiple of 32
  int64_t outputs;
  const float* scales;  // [outputs] with i8, else unused
  const float* bias;  // [outputs] or null
  float* y;           // [rows, outputs], rows y_stride apart
  int64_t y_stride;
  int64_t ahead = 0;  // bytes from a read of weights to where they are prefetched
  bool halves = false;  // one row reads both halves of the weights at once
};

using DenseDecodeFunction = void(const DenseDecode& decode);
extern const KernelTable<DenseDecodeFunction> dense_decode_f32_table;
extern const KernelTable<DenseDecodeFunction> dense_decode_f16_table;
extern const KernelTable<DenseDecodeFunction> dense_decode_bf16_table;
extern const KernelTable<DenseDecodeFunction> dense_decode_i8_table;
extern const KernelTable<DenseDecodeFunction> dense_decode_q8_table;

}  // namespace mbok
