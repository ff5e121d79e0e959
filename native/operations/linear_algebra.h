// Dense linear algebra for the calibrated conversion: Cholesky factors and triangular inverses, blocked into tiles of
// 64 × 64 on one kernel (kernels/tile_product). Matrices are padded to whole tiles with the identity, which never
// affects a result, so there are no edge cases.
//
// Tiles are stored as f32 and computed as doubles. A factor rounded to f32 is the exact factor of a matrix as close to
// A as A's own rounding to f32, at half the memory. Sums over tiles stay in f64 until complete.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tile_product/tile_product.h"
#include "operations/scratch.h"
#include "runtime/thread_pool.h"

namespace mbok {

inline int64_t tile_count(int64_t n) { return (n + kTile - 1) / kTile; }

// A symmetric positive definite matrix of count × count tiles and, after factorize(), its factor: A = L Lᵀ with L in
// the tiles below the diagonal and Lᵀ in those above it, so that both are operands in place.
class TiledFactor {
 public:
  TiledFactor(int64_t n, int threads, Scratch& scratch)
      : count_(tile_count(n)),
        tiles_(scratch.take<float>(count_ * count_ * kTileSize)),
        inverses_(scratch.take<double>(count_ * kTileSize)),
        work_(scratch.take<double>(threads * kWorkTiles * kTileSize)),
        columns_(scratch.take<double>(threads * count_ * kTileSize)) {}

  int64_t count() const { return count_; }
  float* tile(int64_t i, int64_t j) const { return tiles_ + (i * count_ + j) * kTileSize; }

  // Sets every element: value(i, j) within n × n, the identity in the padding.
  template <class Value>
  void fill(ThreadPool& pool, int64_t n, const Value& value) const {
    pool.parallel_for(count_ * count_, [&](int64_t task, int) {
      float* out = tiles_ + task * kTileSize;
      const int64_t row = task / count_ * kTile, col = task % count_ * kTile;
      for (int64_t i = row; i < row + kTile; ++i)
        for (int64_t j = col; j < col + kTile; ++j) *out++ = i < n && j < n ? value(i, j) : i == j ? 1.0f : 0.0f;
    });
  }

  // Reads the lower half of the tiles. Returns false if the matrix is not positive definite (or not finite).
  bool factorize(ThreadPool& pool) const;

  // Returns column j of tiles of L⁻¹, computed by `worker`: tiles j … count − 1 in order (earlier ones are arbitrary),
  // valid until the worker's next column. Serial; one caller per worker at a time.
  const double* invert_column(int64_t j, int worker) const;

 private:
  static constexpr int64_t kWorkTiles = 3;
  double* work(int worker, int64_t index) const { return work_ + (worker * kWorkTiles + index) * kTileSize; }

  int64_t count_;
  float* tiles_;
  double* inverses_;  // of the diagonal tiles of L
  double* work_;      // per worker
  double* columns_;   // per worker
};

}  // namespace mbok
