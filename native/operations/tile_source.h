// A source of the tiles of a gradient G[m, n]: a product that never stores it, or memory. Column cuts are multiples of
// 64, so no two tiles share a word of bits.
#pragma once

#include <cstring>

#include "operations/product.h"

namespace mbok {

class TileSource {
 public:
  virtual TileGrid grid() const = 0;
  // Passes every tile once; may be called again for a second pass.
  virtual void feed(ThreadPool& pool, TileSink& sink) = 0;

 protected:
  ~TileSource() = default;
};

// G = ZᵀX for z[depth, m] and x[depth, n]. With `kept` (kept_size floats) the first pass stores its tiles there and
// later passes read them. One layer at a time needs little memory, and reading is much cheaper than a product.
class ProductTiles final : public TileSource {
 public:
  ProductTiles(const Tensor& z, const Tensor& x, Precision precision, float* kept, std::byte* scratch)
      : z_(z), x_(x), precision_(precision), kept_(kept), scratch_(scratch) {}
  static size_t scratch_bytes(const Tensor& z, const Tensor& x, Precision precision, int threads) {
    return product_tiles_scratch(z.rows, z.cols, x.cols, precision, threads);
  }
  // Floats of all tiles.
  static int64_t kept_size(const Tensor& z, const Tensor& x) {
    const TileGrid g = product_tile_grid(z.cols, x.cols);
    return g.rows * g.cols * g.tile_rows * g.tile_cols;
  }
  TileGrid grid() const override { return product_tile_grid(z_.cols, x_.cols); }
  void feed(ThreadPool& pool, TileSink& sink) override {
    if (complete_) return feed_kept(pool, sink);
    Keeper keeper(*this, sink);
    TileSink& first = kept_ == nullptr ? sink : static_cast<TileSink&>(keeper);
    product_tiles(pool, z_.f32(), x_.f32(), z_.rows, z_.cols, x_.cols, precision_, first, scratch_);
    complete_ = kept_ != nullptr;
  }

 private:
  class Keeper final : public TileSink {
   public:
    Keeper(const ProductTiles& tiles, TileSink& sink) : tiles_(tiles), sink_(sink) {}
    void consume(const Tile& tile, int worker) override {
      const TileGrid g = tiles_.grid();
      float* const to = tiles_.at(tile.row / g.tile_rows * g.cols + tile.col / g.tile_cols);
      for (int64_t r = 0; r < tile.rows; ++r)
        std::memcpy(to + r * g.tile_cols, tile.data + r * tile.stride, static_cast<size_t>(tile.cols) * sizeof(float));
      sink_.consume(tile, worker);
    }

   private:
    const ProductTiles& tiles_;
    TileSink& sink_;
  };

  float* at(int64_t tile) const {
    const TileGrid g = grid();
    return kept_ + tile * g.tile_rows * g.tile_cols;
  }

  void feed_kept(ThreadPool& pool, TileSink& sink) const {
    const TileGrid g = grid();
    pool.parallel_for(g.rows * g.cols, [&](int64_t tile, int worker) {
      const int64_t row = tile / g.cols * g.tile_rows, col = tile % g.cols * g.tile_cols;
      const int64_t rows = z_.cols - row < g.tile_rows ? z_.cols - row : g.tile_rows;
      const int64_t cols = x_.cols - col < g.tile_cols ? x_.cols - col : g.tile_cols;
      sink.consume({row, col, rows, cols, at(tile), g.tile_cols}, worker);
    });
  }

  Tensor z_, x_;
  Precision precision_;
  float* kept_;
  std::byte* scratch_;
  bool complete_ = false;
};

// A dense matrix [m, n] in memory.
class DenseTiles final : public TileSource {
 public:
  explicit DenseTiles(const Tensor& matrix) : matrix_(matrix) {}
  // Whole rows, which stream best: about 256 KiB, at least 16 rows, so that a second pass over a tile finds it in
  // cache.
  TileGrid grid() const override {
    const int64_t cols = (matrix_.cols + 63) / 64 * 64;
    const int64_t rows = cols < 4096 ? 65536 / (cols > 0 ? cols : 64) : 16;
    return {rows, cols, (matrix_.rows + rows - 1) / rows, 1};
  }
  void feed(ThreadPool& pool, TileSink& sink) override {
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
