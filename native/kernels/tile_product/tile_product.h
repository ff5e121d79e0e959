// C −= A · B for tiles of 64 × 64 doubles, row-major and contiguous: the inner loop of the blocked Cholesky
// factorization, triangular inverse and solves (operations/linear_algebra.h).
//
// Numerics. f64, because calibration inverts H + λ·mean(diag H)·I with λ = 0.03 (DAMPING in
// lib/compress/input_moments.ts). Its condition number reaches n/λ ≈ 33·n with outlier channels, which leaves two
// digits in f32.
//
// Budget. The register tile is 8 × 16 on AVX-512 and 4 × 8 on AVX2 and NEON. A step of the depth takes 2 loads, 8
// broadcasts from memory and 16 fma (AVX-512): bound by fma, 16 products per cycle on two 512-bit ports. A tile takes
// 16k cycles and 96 KiB of L1/L2 traffic.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

constexpr int64_t kTile = 64;
constexpr int64_t kTileSize = kTile * kTile;  // in doubles

using TileProductFunction = void(const double* a, const double* b, double* c);
// out = a, a tile in f32. Matrices are stored in f32; only the tiles in use are doubles. 1k cycles per tile.
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
