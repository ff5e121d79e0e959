// A multi-Boolean layer for one to eight rows, straight from the bits:
//
//   y[r, i] = bias[i] + Σ_k s_out[k, i] · Σ_j ±scaled[r, k, j],   + where bit j of row i of kernel k is 1,
//
// with scaled = x ⊙ s_in[k], computed once a layer by decode_scale. No weight is rebuilt and nothing is rounded but f32
// sums. `scaled` is stored negated, so that a set bit means "flip the sign"; its padding to whole words is zero.
//
// Numerics. Every (r, k, i) sums lane by lane in the order of j; the lanes' sums are multiplied by s_out, added up over
// k and reduced at the end: the same for any number of rows, within the rounding of f32 sums of scalar.
//
// Budget. AVX-512, one row, 8 outputs at a time: 16 inputs cost one load of inputs and, for each output, a mask load, a
// masked xor and an add: 128 weights in about 4 cycles on four vector ports, 4 bytes of bits a cycle, which no memory
// in reach exceeds by much. AVX2 shifts a lane's bit up to the sign: four instructions for 8 weights, a third of that.
// NEON tests the bits of 8 weights and chooses x or −x: a broadcast and two each of cmtst, bsl and fadd.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

struct BooleanDecode {
  const float* scaled;  // [rows, kernels, 64·words]
  int64_t rows, kernels;
  const uint64_t* bits;  // [outputs, words] of kernel 0; kernel k is k · kernel_stride words further
  int64_t words, kernel_stride;
  const float* s_out;  // [outputs] of kernel 0; kernel k is k · s_out_stride further
  int64_t s_out_stride;
  int64_t outputs;
  const float* bias;  // [outputs] or null
  float* y;           // [rows, outputs], rows y_stride apart
  int64_t y_stride;
};

using BooleanDecodeFunction = void(const BooleanDecode& decode);
extern const KernelTable<BooleanDecodeFunction> boolean_decode_table;

// scaled[j] = −x[j] · s_in[j] for j < n, zero from there to a multiple of 64. Bound by L1 and L2.
using DecodeScaleFunction = void(const float* x, const float* s_in, int64_t n, float* scaled);
extern const KernelTable<DecodeScaleFunction> decode_scale_table;

}  // namespace mbok
