// ∂s_out[k]ᵢ = Σⱼ Gᵢⱼ·B[k]ᵢⱼ·s_in[k]ⱼ and ∂s_in[k]ⱼ = Σᵢ Gᵢⱼ·B[k]ᵢⱼ·s_out[k]ᵢ from the tiles of G. Each tile writes its
// own partial sums, which are added in the order of the grid, so the result does not depend on the threads.
#pragma once

#include "operations/boolean_layer.h"
#include "operations/product.h"
#include "operations/scratch.h"

namespace mbok {

class ScaleGradients {
 public:
  // Without `wanted` it takes no scratch and must not receive tiles.
  ScaleGradients(const BooleanLayer& layer, const TileGrid& grid, bool wanted, Scratch& scratch);
  void consume(const Tile& tile) const;
  // Adds to each non-null output, after every tile has been consumed.
  void add_to(ThreadPool& pool, float* ds_out, float* ds_in) const;

 private:
  BooleanLayer layer_;
  TileGrid grid_;
  float* out_;  // [tiles across, K·m]
  float* in_;   // [tiles down, K·n]
};

}  // namespace mbok
