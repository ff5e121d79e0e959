#include "operations/linear_algebra.h"

#include <algorithm>
#include <cmath>

namespace mbok {
namespace {

// The Cholesky factor of one tile, its upper half set to zero. False at a pivot that is not positive.
bool factorise_tile(double* a) {
  for (int64_t j = 0; j < kTile; ++j) {
    double pivot = a[j * kTile + j];
    for (int64_t s = 0; s < j; ++s) pivot -= a[j * kTile + s] * a[j * kTile + s];
    if (!(pivot > 0) || !std::isfinite(pivot)) return false;
    const double root = std::sqrt(pivot);
    a[j * kTile + j] = root;
    for (int64_t i = j + 1; i < kTile; ++i) {
      double sum = a[i * kTile + j];
      for (int64_t s = 0; s < j; ++s) sum -= a[i * kTile + s] * a[j * kTile + s];
      a[i * kTile + j] = sum / root;
      a[j * kTile + i] = 0;
    }
  }
  return true;
}

// The inverse of a lower triangular tile, and its transpose.
void invert_tile(const double* l, double* inverse, double* transposed) {
  std::fill(inverse, inverse + kTileSize, 0.0);
  std::fill(transposed, transposed + kTileSize, 0.0);
  for (int64_t j = 0; j < kTile; ++j)
    for (int64_t i = j; i < kTile; ++i) {
      double sum = i == j ? 1.0 : 0.0;
      for (int64_t s = j; s < i; ++s) sum -= l[i * kTile + s] * transposed[j * kTile + s];
      inverse[i * kTile + j] = transposed[j * kTile + i] = sum / l[i * kTile + i];
    }
}

void transpose_tile(const double* a, double* out) {
  for (int64_t i = 0; i < kTile; ++i)
    for (int64_t j = 0; j < kTile; ++j) out[j * kTile + i] = a[i * kTile + j];
}

void negate(const double* a, double* out) {
  for (int64_t i = 0; i < kTileSize; ++i) out[i] = -a[i];
}

// c = c · b
void multiply_in_place(double* c, const double* b) {
  double product[kTileSize] = {};
  tile_product_table.best()(c, b, product);
  negate(product, c);
}

}  // namespace

TiledFactor::TiledFactor(int64_t n, std::byte* memory)
    : count_(tile_count(n)),
      tiles_(reinterpret_cast<double*>(memory)),
      inverses_(tiles_ + count_ * count_ * kTileSize),
      transposed_inverses_(inverses_ + count_ * kTileSize) {}

size_t TiledFactor::bytes(int64_t n) {
  const int64_t count = tile_count(n);
  return static_cast<size_t>((count * count + 2 * count) * kTileSize) * sizeof(double);
}

bool TiledFactor::factorise(ThreadPool& pool) const {
  TileProductFunction* subtract = tile_product_table.best();
  for (int64_t k = 0; k < count_; ++k) {
    pool.parallel_for(count_ - k, [&](int64_t task, int) {
      for (int64_t j = 0; j < k; ++j) subtract(tile(k + task, j), tile(j, k), tile(k + task, k));
    });
    if (!factorise_tile(tile(k, k))) return false;
    invert_tile(tile(k, k), inverses_ + k * kTileSize, transposed_inverses_ + k * kTileSize);
    pool.parallel_for(count_ - k - 1, [&](int64_t task, int) {
      const int64_t i = k + 1 + task;
      multiply_in_place(tile(i, k), transposed_inverses_ + k * kTileSize);
      transpose_tile(tile(i, k), tile(k, i));
    });
  }
  return true;
}

void TiledFactor::solve_rows(double* x) const {
  TileProductFunction* subtract = tile_product_table.best();
  for (int64_t j = 0; j < count_; ++j) {  // Z Lᵀ = X
    for (int64_t k = 0; k < j; ++k) subtract(x + k * kTileSize, tile(k, j), x + j * kTileSize);
    multiply_in_place(x + j * kTileSize, transposed_inverses_ + j * kTileSize);
  }
  for (int64_t j = count_ - 1; j >= 0; --j) {  // X L = Z
    for (int64_t k = j + 1; k < count_; ++k) subtract(x + k * kTileSize, tile(k, j), x + j * kTileSize);
    multiply_in_place(x + j * kTileSize, inverses_ + j * kTileSize);
  }
}

void TiledFactor::invert_column(int64_t j, double* column) const {
  TileProductFunction* subtract = tile_product_table.best();
  std::copy(inverses_ + j * kTileSize, inverses_ + (j + 1) * kTileSize, column + j * kTileSize);
  for (int64_t i = j + 1; i < count_; ++i) {
    double negative[kTileSize] = {};  // −Σₖ L_ik X_kj
    for (int64_t k = j; k < i; ++k) subtract(tile(i, k), column + k * kTileSize, negative);
    double* own = column + i * kTileSize;
    std::fill(own, own + kTileSize, 0.0);
    subtract(inverses_ + i * kTileSize, negative, own);
    negate(own, own);
  }
}

}  // namespace mbok
