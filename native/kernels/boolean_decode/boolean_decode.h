// A multi-Boolean layer for one to eight rows, computed from the bits without rebuilding weights:
//
//   y[r, i] = bias[i] + Σ_k s_out[k, i] · Σ_j ±scaled[r, k, j],   + if bit j of row i of kernel k is 1,
//
// with scaled = x ⊙ s_in[k], which decode_scale computes once per layer. `scaled` is stored negated, so that a set bit
// flips the sign; its padding to whole words is zero.
//
// Numerics. All f32. Every (r, k, i) sums lane by lane in the order of j. The lanes' sums are multiplied by s_out,
// added over k and reduced at the end. The result does not depend on the number of rows; it differs from scalar within
// f32 rounding.
//
// Budget. AVX-512, one row, 8 outputs at a time: 16 inputs cost one load, and per output a mask load, a masked xor and
// an add. That is 128 weights (16 bytes of bits) in about 4 cycles on four vector ports; hardly any memory delivers
// more. AVX2 shifts a lane's bit to the sign position: shift, and, xor, add for 8 weights, 4 cycles for 4 bytes of
// bits. NEON tests the bits of 8 weights and selects x or −x: one broadcast and two each of cmtst, bsl and fadd.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

struct BooleanDecode {
  const float* scaled;  // [rows, kernels, 64·words]
  int64_t rows, kernels;
  const uint64_t* bits;  // [outputs, words] of kernel 0; kernel k follows k · kernel_stride words later
  int64_t words, kernel_stride;
  const float* s_out;  // [outputs] of kernel 0; kernel k follows k · s_out_stride floats later
  int64_t s_out_stride;
  int64_t outputs;
  const float* bias;  // [outputs] or null
  float* y;           // [rows, outputs], row stride y_stride
  int64_t y_stride;
};

using BooleanDecodeFunction = void(const BooleanDecode& decode);
extern const KernelTable<BooleanDecodeFunction> boolean_decode_table;

// scaled[j] = −x[j] · s_in[j] for j < n, then zeros up to a multiple of 64. Bound by L1 and L2.
using DecodeScaleFunction = void(const float* x, const float* s_in, int64_t n, float* scaled);
extern const KernelTable<DecodeScaleFunction> decode_scale_table;

}  // namespace mbok
