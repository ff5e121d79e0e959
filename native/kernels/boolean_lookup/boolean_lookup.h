// A multi-Boolean layer for one row by look-up tables, computed from tiled bits (kernels/bit_tiles):
//
//   y[i] = bias[i] + Σ_k s_out[k, i] · Σ_j ±x[j]·s_in[k, j],   + if bit j of row i of kernel k is 1.
//
// Method. Four inputs have 16 signed sums, so four weight bits index a table of 16 entries. One byte shuffle looks up
// 64 (AVX-512), 32 (AVX2) or 16 (NEON) entries. An entry is split into its low six bits and the rest, so that four
// look-ups add up within a byte before both parts are combined in 16 bits.
//
// Quantization. Tables are integers. In every block of 64 inputs v = x ⊙ s_in is rounded to multiples q of scale =
// max |v| / 511, so that a block's sum fits 16 bits; blocks are summed in f32. One part has an error of at most
// max |v| / 1022. Each further part quantizes the remainder of the part before: two parts leave 10^-6 of the block's
// maximum, three 10^-9 (f32), at two and three times the shuffles.
//
// Numerics. Integers are exact and blocks are summed in order by fused multiply-adds, so every ISA gives the same bits.
// A block with a v that is not finite makes its kernel's outputs NaN.
//
// Budget. Operations of one part for 16 inputs:
//
//                       AVX-512, 64 outputs              NEON, 16 outputs
//   loads               2 of bits, 8 of tables           2 of bits, 8 of tables
//   prefetches          2                                2
//   split nibbles       6 (AVX-512 VBMI: 2)              4
//   look-ups            8 shuffles                       8 tbl
//   sums of bytes       6                                6
//   to 16 bits          2 each: unpack, multiply, add    4 (uaddw, umlal)
//   vector operations   26 (VBMI: 22)                    22, for 64 outputs 88
//
// These are 1024 weights in 128 bytes. Zen 5: four vector ports, 6.5 cycles. Intel: two vector ports, of which one
// shuffles, 13 cycles; with vpermb (avx512_vbmi.cc) 11, with the end of a block 12.8. Measured on Granite Rapids from
// L2: 15. NEON: 22 cycles on four vector pipes, 44 on two.
//
// Streams. Zen 5 reads one tile at a time, prefetched 6 KiB ahead. Two tiles would share table loads, but two streams
// from memory are a quarter slower than one. Intel reads two tiles, prefetched 3 KiB (AVX-512) or 2 KiB (AVX2) ahead.
// Its cores have so few outstanding reads that a second stream gains a sixth, and 6 KiB ahead costs a quarter.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

constexpr int kMaxLookupParts = 3;
constexpr int64_t kLookupBlock = 64;       // inputs that share a scale
constexpr int64_t kLookupBytes = 16 * 32;  // tables of a block: for every four inputs 16 bytes of each part of the sums
constexpr int kLowBits = 6;  // of a sum, in the first 16 bytes; the second 16 hold the high bits plus kHighBias
constexpr int kHighBias = 32;

struct BooleanLookup {
  const uint8_t* tiles;  // of kernel 0, from the first output's tile; kernel k follows k · kernel_stride bytes later
  int64_t kernel_stride;
  int64_t words, kernels, parts;
  const uint8_t* tables;  // [kernels, parts, words, kLookupBytes]
  const float* scales;    // [kernels, parts, words]
  const float* s_out;     // [outputs] of kernel 0; kernel k follows k · s_out_stride floats later
  int64_t s_out_stride;
  int64_t outputs;    // the first output is the first of a tile
  const float* bias;  // [outputs] or null
  float* y;           // [outputs]
};
using BooleanLookupFunction = void(const BooleanLookup& lookup);
extern const KernelTable<BooleanLookupFunction> boolean_lookup_table;

// Writes tables and scales of n inputs x ⊙ s_in: ⌈n / 64⌉ blocks of arrays tables [parts, words, kLookupBytes] and
// scales [parts, words]. Entry v of four inputs is Σ_b (bit b of v ? q[b] : −q[b]), stored as its low kLowBits bits and
// its high bits plus kHighBias, which makes them non-negative. Inputs from n on are 0.
struct LookupInputs {
  const float *x, *s_in;
  int64_t n, parts, words;
};
using LookupTablesFunction = void(const LookupInputs& inputs, uint8_t* tables, float* scales);
extern const KernelTable<LookupTablesFunction> lookup_tables_table;

}  // namespace mbok
