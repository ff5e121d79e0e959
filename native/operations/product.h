// C[m, n] = Σ_d A[m, d] · B[n, d], the one driver behind every dense product of the library.
//
// What differs between a plain linear layer, a multi-Boolean one, its gradients and a Gram matrix is only where the
// packed panels come from (Operand: a matrix, its transpose, or weights rebuilt from bits) and where a finished tile
// of C goes (TileSink: memory, or straight into an optimizer). So no operand and no result needs to exist whole.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/operation.h"

namespace mbok {

enum class Precision : int32_t {
  kF32 = 0,
  kBf16 = 1,  // operands rounded to bf16, sums in f32; f32 where the CPU has no bf16 dot product
  kInt8 = 2,  // operands rounded to 8 bits block by block, sums in integers; bf16 where that is as fast, or all there is
};

// The attribute that chooses the precision; throws Error MBOK_SHAPE for any other number.
Precision wanted_precision(const Call& call, int index);

// The same, narrowed to what the CPU has and the operation does.
Precision precision_attribute(const Call& call, int index, bool has_int8 = false);

// A finished tile of C: all of the depth has been summed. Tiles form a fixed grid that depends on the shape alone,
// never on the number of threads: tile (i, j) covers rows [i·tile_rows, …) and columns [j·tile_cols, …).
struct Tile {
  int64_t row, col;    // of C, of the tile's first element
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

// The grid that product_tiles hands to its sink for C[m, n].
TileGrid product_tile_grid(int64_t m, int64_t n);

// G = Zᵀ X for Z[depth, m] and X[depth, n] (the dense gradient of a linear layer), every tile given to `sink` and
// then forgotten. Scratch: product_tiles_scratch bytes at `scratch`.
void product_tiles(ThreadPool& pool, const float* z, const float* x, int64_t depth, int64_t m, int64_t n,
                   Precision precision, TileSink& sink, std::byte* scratch);
size_t product_tiles_scratch(int64_t depth, int64_t m, int64_t n, Precision precision, int threads);

// Plain products for other operations (Gram matrices, blocked linear algebra), written into C (or added to it).
// A is [m, depth] or, transposed, [depth, m]; B is [n, depth] or, transposed, [depth, n]; leading strides in elements.
struct ProductShape {
  int64_t m, n, depth;
  int64_t a_stride, b_stride, c_stride;
  bool a_transposed, b_transposed;  // see above
  bool accumulate;                  // C += instead of C =
};
void product(ThreadPool& pool, const float* a, const float* b, float* c, const ProductShape& shape,
             Precision precision, std::byte* scratch);
// Suffices for every product that is nowhere larger.
size_t product_scratch(const ProductShape& shape, Precision precision, int threads);

}  // namespace mbok
