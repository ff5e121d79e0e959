// Where the tiles of a gradient G[m, n] come from: a product that never stores it, or memory. Columns of the grid are
// multiples of 64, so that no two tiles share a word of bits.
#pragma once

#include "operations/product.h"

namespace mbok {

class TileSource {
 public:
  virtual TileGrid grid() const = 0;
  // Every tile once; may be called again for a second pass.
  virtual void feed(ThreadPool& pool, TileSink& sink) const = 0;

 protected:
  ~TileSource() = default;
};

// G = ZᵀX for z[depth, m] and x[depth, n].
class ProductTiles final : public TileSource {
 public:
  ProductTiles(const Tensor& z, const Tensor& x, Precision precision, std::byte* scratch)
      : z_(z), x_(x), precision_(precision), scratch_(scratch) {}
  static size_t scratch_bytes(const Tensor& z, const Tensor& x, Precision precision, int threads) {
    return product_tiles_scratch(z.rows, z.cols, x.cols, precision, threads);
  }
  TileGrid grid() const override { return product_tile_grid(z_.cols, x_.cols); }
  void feed(ThreadPool& pool, TileSink& sink) const override {
    product_tiles(pool, z_.f32(), x_.f32(), z_.rows, z_.cols, x_.cols, precision_, sink, scratch_);
  }

 private:
  Tensor z_, x_;
  Precision precision_;
  std::byte* scratch_;
};

// A dense matrix [m, n] in memory.
class DenseTiles final : public TileSource {
 public:
  explicit DenseTiles(const Tensor& matrix) : matrix_(matrix) {}
  // Whole rows, which stream best; about 256 KiB of them, so that a second look at the tile finds it in cache.
  TileGrid grid() const override {
    const int64_t cols = (matrix_.cols + 63) / 64 * 64;
    const int64_t rows = cols < 4096 ? 65536 / (cols > 0 ? cols : 64) : 16;
    return {rows, cols, (matrix_.rows + rows - 1) / rows, 1};
  }
  void feed(ThreadPool& pool, TileSink& sink) const override {
    const TileGrid g = grid();
    pool.parallel_for(g.rows * g.cols, [&](int64_t task, int worker) {
      const int64_t row = task / g.cols * g.tile_rows, col = task % g.cols * g.tile_cols;
      const int64_t rows = matrix_.rows - row < g.tile_rows ? matrix_.rows - row : g.tile_rows;
      const int64_t cols = matrix_.cols - col < g.tile_cols ? matrix_.cols - col : g.tile_cols;
      sink.consume({row, col, rows, cols, matrix_.f32() + row * matrix_.cols + col, matrix_.cols}, worker);
    });
  }

 private:
  Tensor matrix_;
};

}  // namespace mbok
