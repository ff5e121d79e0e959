// C −= A · B for tiles of 64 × 64 doubles, row-major and contiguous: the one inner loop of the blocked Cholesky
// factorization, triangular inverse and solves (operations/linear_algebra.h).
//
// Why f64: calibration inverts H + 0.01·mean(diag H)·I, whose condition number reaches 100·n on real activations
// (outlier channels); in f32 that leaves two digits.
//
// AVX-512: 8 × 16 register tile, per step of the depth 2 loads, 8 broadcasts from memory and 16 fma: bound by fma,
// 16 a cycle on two 512-bit ports. A tile costs 16k cycles and 96 KiB of L1/L2 traffic. AVX2: 4 × 8.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

constexpr int64_t kTile = 64;
constexpr int64_t kTileSize = kTile * kTile;  // doubles

using TileProductFunction = void(const double* a, const double* b, double* c);
// out = a, a tile kept in f32: matrices are stored so, and only the tiles at work are doubles. 1k cycles a tile.
using WidenTileFunction = void(const float* a, double* out);

#define MBOK_TILE_FUNCTIONS                  \
  TileProductFunction subtract_tile_product; \
  WidenTileFunction widen_tile;
namespace scalar {
MBOK_TILE_FUNCTIONS
}
MBOK_DECLARE_VECTOR(MBOK_TILE_FUNCTIONS;)
#undef MBOK_TILE_FUNCTIONS

extern const KernelTable<TileProductFunction> tile_product_table;
extern const KernelTable<WidenTileFunction> widen_tile_table;

}  // namespace mbok
