// Dense products for operations: plain ones into memory, and tile by tile into a TileSink, so that no result needs to
// exist as a whole. panel_product.h is the driver behind both and behind linear layers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/operation.h"

namespace mbok {

enum class Precision : int32_t {
  kF32 = 0,
  kBf16 = 1,  // operands rounded to bf16, sums in f32; f32 if the CPU has no bf16 products
  kInt8 = 2,  // operands rounded to 8 bits per block, integer sums; see usable_precision()
};

// Returns the precision that an attribute requests; throws Error MBOK_SHAPE for an invalid one.
Precision wanted_precision(const Call& call, int index);

// Returns the same, restricted to what the CPU and the operation support.
Precision precision_attribute(const Call& call, int index, bool has_int8 = false);

// A finished tile of C, summed over the whole depth. Tiles form a fixed grid that depends on the shape alone, never on
// the number of threads: tile (i, j) covers rows [i·tile_rows, …) and columns [j·tile_cols, …).
struct Tile {
  int64_t row, col;    // position of the tile's first element in C
  int64_t rows, cols;  // extent; smaller than the grid's at the lower and right edges
  const float* data;   // element (r, c) at data[r * stride + c]
  int64_t stride;
};

class TileSink {
 public:
  // Called once per tile, from any worker, in any order; tiles are disjoint. Must not throw.
  virtual void consume(const Tile& tile, int worker) = 0;

 protected:
  ~TileSink() = default;
};

struct TileGrid {
  int64_t tile_rows, tile_cols;  // of a full tile
  int64_t rows, cols;            // tiles down and across
};

// Returns the grid that product_tiles passes to its sink for C[m, n].
TileGrid product_tile_grid(int64_t m, int64_t n);

// Computes G = Zᵀ X for Z[depth, m] and X[depth, n], the dense gradient of a linear layer. Every tile is passed to
// `sink` and then overwritten. Scratch: product_tiles_scratch bytes.
void product_tiles(ThreadPool& pool, const float* z, const float* x, int64_t depth, int64_t m, int64_t n,
                   Precision precision, TileSink& sink, std::byte* scratch);
size_t product_tiles_scratch(int64_t depth, int64_t m, int64_t n, Precision precision, int threads);

// Plain products for other operations (Gram matrices, blocked linear algebra), written or added to C. A is [m, depth]
// or, transposed, [depth, m]; B is [n, depth] or, transposed, [depth, n]. Strides are in elements.
struct ProductShape {
  int64_t m, n, depth;
  int64_t a_stride, b_stride, c_stride;
  bool a_transposed, b_transposed;  // see above
  bool accumulate;                  // C += instead of C =
};
void product(ThreadPool& pool, const float* a, const float* b, float* c, const ProductShape& shape, Precision precision,
             std::byte* scratch);
// Suffices for every product that is nowhere larger.
size_t product_scratch(const ProductShape& shape, Precision precision, int threads);

}  // namespace mbok
