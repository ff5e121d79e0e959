// Updates for one row of a tile of G = ZᵀX while the tile is in cache: scale gradients, statistics of the Boolean
// signal, accumulation, flips. The functions process `cols` neighboring columns from a multiple of 64 on, so rows of
// bits are whole words. Padding bits are neither read nor changed.
//
// Notation: g is a row of G; b = ±1 a row of one kernel's bits; s_out the row's scale, s_in the columns' scales. The
// signal of a kernel is q = (g·s_out)·s_in. With s_out = 1 and s_in = nullptr, g is the signal itself.
//
// Numerics. All f32. The element-wise functions (add_signal, accumulate, flip, move) round in the same order without
// fused products, so signs and accumulators are equal bit for bit on every ISA. Sums differ in their order.
//
// Budget per 16 columns (AVX-512):
//
//   scale_gradient   4 loads, 1 xor, 2 fma, 1 store per kernel
//   accumulate       3 loads, 3 multiplications, 1 add, 1 compare, 1 store
//   flip             1 load, 2 compares
//   move             4 operations for each of the 2^K − 1 sets of bits
//
// The memory of the accumulator bounds everything but move at K ≥ 4.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

// ds_in[j] += g[j]·b[j]·s_out; returns Σⱼ g[j]·b[j]·s_in[j].
using ScaleGradientFunction = float(const float* g, const uint64_t* bits, float s_out, const float* s_in, float* ds_in,
                                    int64_t cols);

// column[j] += q[j]²; returns Σⱼ q[j]². Non-finite terms count as 0.
using SignalSquaresFunction = float(const float* g, float s_out, const float* s_in, float* column, int64_t cols);

// Returns Σⱼ |q[j]|. Non-finite terms count as 0.
using SignalMagnitudeFunction = float(const float* g, float s_out, const float* s_in, int64_t cols);

// q[j] += (g[j]·s_out)·s_in[j]
using AddSignalFunction = void(const float* g, float s_out, const float* s_in, float* q, int64_t cols);

// m[j] ← β·m[j] + (g[j]·row)·column[j], where row and column multiply to η, the normalizer and the scales. An element
// with a non-finite result keeps its m.
using AccumulateFunction = void(float* m, const float* g, float beta, float row, const float* column, int64_t cols);

// The last-kernel rule: where m·b ≥ 1 the bit flips and m becomes `retained` · (the new b), in [0, 1). Returns the number
// of flips.
using FlipFunction = int64_t(float* m, uint64_t* bits, float retained, int64_t cols);

// Neighbor moves. The levels of element j are Σₖ ± s_out[k]·s_in[k·s_in_stride + j]. gap is the distance from the
// current level to the next one in the direction −sign(m); levels within 1e-9 do not count. If there is one and |m| ≥
// gap / (2·|ŝ|) with ŝ = s_out[K−1]·s_in[K−1], the bits take its code and m becomes −sign(m) · `retained` · gap / (2·|ŝ|),
// that fraction of the evidence for the move back. Returns the number of moves.
//
// With uₖ = sign(m)·b[k]·s_out[k]·s_in[k], flipping a set D of bits moves by −2·sign(m)·Σ_D uₖ. So gap / 2 is the least
// sum Σ_D uₖ > 5e-10; ties go to the set with the smaller number Σ_D 2ᵏ.
struct MoveRow {
  uint64_t* bits;       // kernel k's words at bits + k · bits_stride
  int64_t bits_stride;  // in words
  const float* s_out;   // [K]
  const float* s_in;    // [K, …]
  int64_t s_in_stride;
  int kernels;  // K, 1 … kMaxMoveKernels
};
constexpr int kMaxMoveKernels = 8;
constexpr float kLeastHalfGap = 5e-10f;
using MoveFunction = int64_t(float* m, const MoveRow& row, float retained, int64_t cols);

extern const KernelTable<ScaleGradientFunction> scale_gradient_table;
extern const KernelTable<SignalSquaresFunction> signal_squares_table;
extern const KernelTable<SignalMagnitudeFunction> signal_magnitude_table;
extern const KernelTable<AddSignalFunction> add_signal_table;
extern const KernelTable<AccumulateFunction> accumulate_table;
extern const KernelTable<FlipFunction> flip_table;
extern const KernelTable<MoveFunction> move_table;

#define MBOK_SIGNAL_UPDATE_DECLARE(isa)     \
  namespace isa {                           \
  ScaleGradientFunction scale_gradient;     \
  SignalSquaresFunction signal_squares;     \
  SignalMagnitudeFunction signal_magnitude; \
  AddSignalFunction add_signal;             \
  AccumulateFunction accumulate;            \
  FlipFunction flip;                        \
  MoveFunction move;                        \
  }
MBOK_SIGNAL_UPDATE_DECLARE(scalar)
MBOK_SIGNAL_UPDATE_DECLARE(avx2)
MBOK_SIGNAL_UPDATE_DECLARE(avx512)
MBOK_SIGNAL_UPDATE_DECLARE(neon)
#undef MBOK_SIGNAL_UPDATE_DECLARE

}  // namespace mbok
