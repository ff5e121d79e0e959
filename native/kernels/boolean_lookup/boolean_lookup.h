// A multi-Boolean layer for one row of inputs by look-up tables, straight from tiled bits (kernels/bit_tiles):
//
//   y[i] = bias[i] + Σ_k s_out[k, i] · Σ_j ±x[j]·s_in[k, j],   + where bit j of row i of kernel k is 1.
//
// Four inputs have 16 signed sums, so four bits of a weight are the index of one: a byte shuffle looks up 64 (AVX-512),
// 32 (AVX2) or 16 (NEON) of them, the low six bits and the others of the sums in turn, so that four of each fit a byte
// before they are put together. Tables are integers: in every block of 64 inputs v = x ⊙ s_in is rounded to multiples q of scale =
// max |v| / 511, so that the sum of a whole block fits 16 bits, and blocks are summed in f32. One part keeps v within
// max |v| / 1022 of the block; each further part does the same to what the one before left: two parts 10^-6 of the
// block's maximum, three 10^-9, which is f32, for two and three times the shuffles.
//
// Numerics. Integers are exact and blocks are summed in their order by fused multiply-adds: every instruction set gives
// the same bits. A block whose v is not finite makes its kernel's outputs NaN.
//
// Budget. AVX-512, one part: 16 inputs of 64 outputs are two loads and prefetches, six operations that cut out nibbles,
// eight table loads, eight shuffles, six sums of bytes, and two unpacks, products and sums of 16 bits: 1024 weights in 36
// operations, 20 of them on the vector units besides the six, for 128 bytes. Zen 5 has two ports for shuffles and
// unpacks and four for vectors: 6.5 cycles by number. Intel has two for vectors, one of which shuffles: 13 cycles; vpermb
// (avx512_vbmi.cc) needs no masks, 11 cycles, and with what ends a block 12.8, of which 15 were measured from L2 on
// Granite Rapids. NEON, one part: 16 inputs of 16 outputs are two loads and prefetches, four operations that cut out
// nibbles, eight table loads, eight look-ups (tbl), six sums of bytes and four that widen and add them (uaddw, umlal): 88
// vector operations for 64 outputs, by count 22 cycles for 128 bytes on four vector pipes and 44 on two.
//
// Streams. On Zen 5 one tile at a time, prefetched 6 KB ahead: two would share their table loads, but their two streams
// from memory are a quarter slower than one. On Intel two tiles, 3 KB ahead: a core there has so few reads under way that a
// second stream adds a sixth; 6 KB ahead costs a quarter again.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

constexpr int kMaxLookupParts = 3;
constexpr int64_t kLookupBlock = 64;     // inputs that share a scale
constexpr int64_t kLookupBytes = 16 * 32;  // tables of a block: for every four inputs 16 bytes of each part of the sums
constexpr int kLowBits = 6;  // of a sum, in the first 16 bytes; the others hold the rest and kHighBias
constexpr int kHighBias = 32;

struct BooleanLookup {
  const uint8_t* tiles;   // of kernel 0, from the first output's on; kernel k lies k · kernel_stride bytes further
  int64_t kernel_stride;
  int64_t words, kernels, parts;
  const uint8_t* tables;  // [kernels, parts, words, kLookupBytes]
  const float* scales;    // [kernels, parts, words]
  const float* s_out;     // [outputs] of kernel 0; kernel k is k · s_out_stride further
  int64_t s_out_stride;
  int64_t outputs;        // from the first of a tile on
  const float* bias;      // [outputs] or null
  float* y;               // [outputs]
};
using BooleanLookupFunction = void(const BooleanLookup& lookup);
extern const KernelTable<BooleanLookupFunction> boolean_lookup_table;

// Tables and scales of n inputs x ⊙ s_in: ⌈n / 64⌉ blocks of tables [parts, words, kLookupBytes] and scales [parts,
// words], of which these may be some. Entry v of four inputs is Σ_b (bit b of v ? q[b] : −q[b]), its low kLowBits bits and
// the others plus kHighBias, which makes them positive; inputs from n on are 0.
struct LookupInputs {
  const float *x, *s_in;
  int64_t n, parts, words;
};
using LookupTablesFunction = void(const LookupInputs& inputs, uint8_t* tables, float* scales);
extern const KernelTable<LookupTablesFunction> lookup_tables_table;

}  // namespace mbok
