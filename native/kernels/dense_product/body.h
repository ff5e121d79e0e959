// The register-tiled product over Vec, for every precision. Included into an anonymous namespace inside mbok::<isa>.
// The including file defines before:
//
//   kTileRows, kTileVectors    rows and vectors of columns of a tile, as many as there are registers for sums
//   Step, Sum                  types of an operand of B and of a sum
//   load_step()                loads a Step of B
//   broadcast_step()           loads a step of A as the first operand of multiply_add()
//   first_sum()                the initial Sum for a row of A
//   multiply_add()             adds the products of one step
//   add_sum()                  adds a Sum to C's value

#include "kernels/dense_product/panels.h"
#include "kernels/dense_product/start_of.h"

template <int Rows, int Vectors>
MBOK_INLINE void multiply_tile(const ProductBlock& p, int64_t row, int64_t col, int64_t cols) {
  Sum sum[Rows][Vectors];
  const float* a[Rows];
  MBOK_UNROLL
  for (int i = 0; i < Rows; ++i) {
    a[i] = static_cast<const float*>(p.a) + (row + i) * p.a_row;
    MBOK_UNROLL
    for (int v = 0; v < Vectors; ++v) sum[i][v] = first_sum(a[i]);
  }
  const float* b = static_cast<const float*>(p.b) + col;
  int64_t at = 0;
  for (int64_t d = 0; d < p.depth; ++d, b += kPanelCols, at += p.a_depth) {
    Step across[Vectors];
    MBOK_UNROLL
    for (int v = 0; v < Vectors; ++v) across[v] = load_step(b + v * kLanes);
    MBOK_UNROLL
    for (int i = 0; i < Rows; ++i) {
      const auto along = broadcast_step(a[i] + at);
      MBOK_UNROLL
      for (int v = 0; v < Vectors; ++v) sum[i][v] = multiply_add(along, across[v], sum[i][v]);
    }
  }
  MBOK_UNROLL
  for (int i = 0; i < Rows; ++i) {
    float* c = p.c + (row + i) * p.c_stride + col;
    MBOK_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      const int64_t left = cols - v * kLanes;
      const int64_t lanes = left < kLanes ? (left < 0 ? 0 : left) : kLanes;
      const Vec start = start_of(p, c + v * kLanes, col + v * kLanes, lanes);
      store_n(c + v * kLanes, add_sum(p, a[i], col + v * kLanes, start, sum[i][v]), lanes);
    }
  }
}

template <int Vectors>
void multiply_columns(const ProductBlock& p, int64_t col, int64_t cols) {
  int64_t row = 0;
  for (; row + kTileRows <= p.rows; row += kTileRows) multiply_tile<kTileRows, Vectors>(p, row, col, cols);
  switch (p.rows - row) {
    case 5:
      return multiply_tile<5, Vectors>(p, row, col, cols);
    case 4:
      return multiply_tile<4, Vectors>(p, row, col, cols);
    case 3:
      return multiply_tile<3, Vectors>(p, row, col, cols);
    case 2:
      return multiply_tile<2, Vectors>(p, row, col, cols);
    case 1:
      return multiply_tile<1, Vectors>(p, row, col, cols);
    default:
      return;
  }
}

void multiply_panel(const ProductBlock& p) {
  for (int64_t col = 0; col < p.cols; col += kTileVectors * kLanes) {
    const int64_t cols = p.cols - col, vectors = (cols + kLanes - 1) / kLanes;
    if (vectors >= kTileVectors)
      multiply_columns<kTileVectors>(p, col, cols);
    else if (vectors == 3)
      multiply_columns < kTileVectors<3 ? 1 : 3>(p, col, cols);
    else if (vectors == 2)
      multiply_columns < kTileVectors<2 ? 1 : 2>(p, col, cols);
    else
      multiply_columns<1>(p, col, cols);
  }
}

MBOK_INLINE void multiply_block(const ProductBlock& p) { for_each_panel(p, multiply_panel); }
