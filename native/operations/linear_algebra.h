// Dense linear algebra of the calibrated conversion: Cholesky factors, triangular inverses and solves, blocked into
// tiles of 64 × 64 doubles that stand on one kernel (kernels/tile_product). Matrices are padded to whole tiles with
// the identity, which no result ever mixes with, so there are no edges.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tile_product/tile_product.h"
#include "runtime/thread_pool.h"

namespace mbok {

inline int64_t tile_count(int64_t n) { return (n + kTile - 1) / kTile; }

// A symmetric positive definite matrix of count × count tiles and, after factorise(), its factor: A = L Lᵀ with L in
// the tiles below the diagonal and Lᵀ in those above it, so that both serve as right operands as they lie.
class TiledFactor {
 public:
  TiledFactor(int64_t n, std::byte* memory);
  static size_t bytes(int64_t n);

  int64_t count() const { return count_; }
  double* tile(int64_t i, int64_t j) const { return tiles_ + (i * count_ + j) * kTileSize; }

  // Sets every element: value(i, j) within n × n, the identity in the padding.
  template <class Value>
  void fill(ThreadPool& pool, int64_t n, const Value& value) const {
    pool.parallel_for(count_ * count_, [&](int64_t task, int) {
      double* out = tiles_ + task * kTileSize;
      const int64_t row = task / count_ * kTile, col = task % count_ * kTile;
      for (int64_t i = row; i < row + kTile; ++i)
        for (int64_t j = col; j < col + kTile; ++j) *out++ = i < n && j < n ? value(i, j) : i == j ? 1.0 : 0.0;
    });
  }

  // Reads the lower half of the tiles. False where the matrix is not positive definite (or not finite).
  bool factorise(ThreadPool& pool) const;

  // X ← X A⁻¹ for 64 rows of X: `count` tiles, one after another. Serial; any number of callers at once.
  void solve_rows(double* x) const;

  // Column j of tiles of L⁻¹: tiles j … count − 1 of `column` (tiles before j stay as they are). Serial.
  void invert_column(int64_t j, double* column) const;

 private:
  int64_t count_;
  double* tiles_;
  double* inverses_;             // of the diagonal tiles of L
  double* transposed_inverses_;  // their transposes
};

}  // namespace mbok
