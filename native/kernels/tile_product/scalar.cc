#include "kernels/tile_product/tile_product.h"

namespace mbok::scalar {

void subtract_tile_product(const double* a, const double* b, double* c) {
  for (int64_t i = 0; i < kTile; ++i)
    for (int64_t d = 0; d < kTile; ++d)
      for (int64_t j = 0; j < kTile; ++j) c[i * kTile + j] -= a[i * kTile + d] * b[d * kTile + j];
}

void widen_tile(const float* a, double* out) {
  for (int64_t i = 0; i < kTileSize; ++i) out[i] = static_cast<double>(a[i]);
}

}  // namespace mbok::scalar
