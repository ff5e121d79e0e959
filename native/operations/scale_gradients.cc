#include "operations/scale_gradients.h"

#include <cstring>

#include "kernels/signal_update/signal_update.h"
#include "operations/rows.h"

namespace mbok {

ScaleGradients::ScaleGradients(const BooleanLayer& layer, const TileGrid& grid, bool wanted, Scratch& scratch)
    : layer_(layer),
      grid_(grid),
      out_(scratch.take<float>(wanted ? grid.cols * layer.kernels * layer.m : 0)),
      in_(scratch.take<float>(wanted ? grid.rows * layer.kernels * layer.n : 0)) {}

void ScaleGradients::consume(const Tile& tile) const {
  ScaleGradientFunction* const scale_gradient = scale_gradient_table.best();
  const int64_t m = layer_.m, n = layer_.n;
  float* const out = out_ + tile.col / grid_.tile_cols * layer_.kernels * m + tile.row;
  float* const in = in_ + tile.row / grid_.tile_rows * layer_.kernels * n + tile.col;
  for (int64_t k = 0; k < layer_.kernels; ++k) {
    std::memset(in + k * n, 0, static_cast<size_t>(tile.cols) * sizeof(float));
    for (int64_t r = 0; r < tile.rows; ++r)
      out[k * m + r] =
          scale_gradient(tile.data + r * tile.stride, layer_.row(k, tile.row + r) + tile.col / 64,
                         layer_.s_out[k * m + tile.row + r], layer_.s_in + k * n + tile.col, in + k * n, tile.cols);
  }
}

void ScaleGradients::add_to(ThreadPool& pool, float* ds_out, float* ds_in) const {
  if (ds_out != nullptr) add_partials(pool, out_, grid_.cols, layer_.kernels * layer_.m, ds_out);
  if (ds_in != nullptr) add_partials(pool, in_, grid_.rows, layer_.kernels * layer_.n, ds_in);
}

}  // namespace mbok
