#include "operations/linear_algebra.h"

#include <algorithm>
#include <cmath>

namespace mbok {
namespace {

// Replaces a tile by its Cholesky factor, the upper half set to zero. Returns false at a pivot that is not positive.
bool factorize_tile(double* a) {
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

// Inverts a lower triangular tile.
void invert_tile(const double* l, double* inverse) {
  std::fill(inverse, inverse + kTileSize, 0.0);
  for (int64_t j = 0; j < kTile; ++j)
    for (int64_t i = j; i < kTile; ++i) {
      double sum = i == j ? 1.0 : 0.0;
      for (int64_t s = j; s < i; ++s) sum -= l[i * kTile + s] * inverse[s * kTile + j];
      inverse[i * kTile + j] = sum / l[i * kTile + i];
    }
}

void transpose_tile(const double* a, double* out) {
  for (int64_t i = 0; i < kTile; ++i)
    for (int64_t j = 0; j < kTile; ++j) out[j * kTile + i] = a[i * kTile + j];
}

void narrow_tile(const double* a, float* out) {
  for (int64_t i = 0; i < kTileSize; ++i) out[i] = static_cast<float>(a[i]);
}

void narrow_transposed(const double* a, float* out) {
  for (int64_t i = 0; i < kTile; ++i)
    for (int64_t j = 0; j < kTile; ++j) out[j * kTile + i] = static_cast<float>(a[i * kTile + j]);
}

void negate(double* a) {
  for (int64_t i = 0; i < kTileSize; ++i) a[i] = -a[i];
}

}  // namespace

bool TiledFactor::factorize(ThreadPool& pool) const {
  TileProductFunction* subtract = tile_product_table.best();
  WidenTileFunction* widen = widen_tile_table.best();
  for (int64_t k = 0; k < count_; ++k) {
    // complete sums of column k return to memory as f32, like every tile of A
    pool.parallel_for(count_ - k, [&](int64_t task, int worker) {
      double *left = work(worker, 0), *right = work(worker, 1), *sum = work(worker, 2);
      widen(tile(k + task, k), sum);
      for (int64_t j = 0; j < k; ++j) {
        widen(tile(k + task, j), left);
        widen(tile(j, k), right);
        subtract(left, right, sum);
      }
      narrow_tile(sum, tile(k + task, k));
    });
    double *const diagonal = work(0, 0), *const inverse = inverses_ + k * kTileSize;
    widen(tile(k, k), diagonal);
    if (!factorize_tile(diagonal)) return false;
    narrow_tile(diagonal, tile(k, k));
    invert_tile(diagonal, inverse);
    pool.parallel_for(count_ - k - 1, [&](int64_t task, int worker) {
      const int64_t i = k + 1 + task;
      double *left = work(worker, 0), *right = work(worker, 1), *product = work(worker, 2);
      widen(tile(i, k), left);
      transpose_tile(inverse, right);
      std::fill(product, product + kTileSize, 0.0);
      subtract(left, right, product);
      negate(product);
      narrow_tile(product, tile(i, k));
      narrow_transposed(product, tile(k, i));
    });
  }
  return true;
}

const double* TiledFactor::invert_column(int64_t j, int worker) const {
  TileProductFunction* subtract = tile_product_table.best();
  WidenTileFunction* widen = widen_tile_table.best();
  double* const column = columns_ + worker * count_ * kTileSize;
  double *const left = work(worker, 0), *const negative = work(worker, 1);
  std::copy(inverses_ + j * kTileSize, inverses_ + (j + 1) * kTileSize, column + j * kTileSize);
  for (int64_t i = j + 1; i < count_; ++i) {
    std::fill(negative, negative + kTileSize, 0.0);  // −Σₖ L_ik X_kj
    for (int64_t k = j; k < i; ++k) {
      widen(tile(i, k), left);
      subtract(left, column + k * kTileSize, negative);
    }
    double* const own = column + i * kTileSize;
    std::fill(own, own + kTileSize, 0.0);
    subtract(inverses_ + i * kTileSize, negative, own);
    negate(own);
  }
  return column;
}

}  // namespace mbok
