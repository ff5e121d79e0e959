// W' = W + a · W (C − H) (H + damping · mean(diag H) · I)⁻¹: weights that, on the inputs of the model as converted so
// far, aim at the original outputs. f64 inside.
//
// inputs w [m, n], h [n, n] symmetric, c [n, n]; output target [m, n]; attributes a, damping
#include <algorithm>

#include "operations/damping.h"
#include "operations/linear_algebra.h"
#include "runtime/memory.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 3, 1, 2);
  const Tensor& w = call.input(0);
  expect_tensor(call, w, "w", TensorType::kF32, w.rows, w.cols);
  expect_tensor(call, call.input(1), "h", TensorType::kF32, w.cols, w.cols);
  expect_tensor(call, call.input(2), "c", TensorType::kF32, w.cols, w.cols);
  expect_tensor(call, call.output(0), "target", TensorType::kF32, w.rows, w.cols);
  expect(call, call.attribute(1) >= 0, "damping must not be negative");
}

size_t scratch_bytes(const Call& call, int) {
  const Tensor& w = call.input(0);
  const int64_t tiles = tile_count(w.rows) * tile_count(w.cols);
  return TiledFactor::bytes(w.cols) + static_cast<size_t>(tiles * kTileSize) * sizeof(double);
}

// Visits the elements of tile (i, j) of an m × n matrix: visit(index into the tile, index into the matrix).
template <class Visit>
void each_element(int64_t i, int64_t j, int64_t m, int64_t n, const Visit& visit) {
  for (int64_t r = 0; r < std::min(kTile, m - i * kTile); ++r)
    for (int64_t s = 0; s < std::min(kTile, n - j * kTile); ++s)
      visit(r * kTile + s, (i * kTile + r) * n + j * kTile + s);
}

void run(const Call& call) {
  const int64_t m = call.input(0).rows, n = call.input(0).cols;
  const float* w = call.input(0).f32();
  const float* h = call.input(1).f32();
  const float* c = call.input(2).f32();
  float* target = call.output(0).f32();
  const double a = call.attribute(0);
  if (a == 0) {
    std::copy(w, w + m * n, target);
    return;
  }
  const TiledFactor factor(n, call.scratch);
  const int64_t count = factor.count(), blocks = tile_count(m);
  double* rows = reinterpret_cast<double*>(call.scratch + TiledFactor::bytes(n));  // 64 × n after 64 × n
  TileProductFunction* subtract = tile_product_table.best();

  // rows = −W · a(H − C); the memory of the factor holds the right operand meanwhile
  factor.fill(*call.pool, n, [=](int64_t i, int64_t j) {
    return a * (static_cast<double>(h[i * n + j]) - static_cast<double>(c[i * n + j]));
  });
  call.pool->parallel_for(blocks, [&](int64_t i, int) {
    double* own = rows + i * count * kTileSize;
    std::fill(own, own + count * kTileSize, 0.0);
    for (int64_t k = 0; k < count; ++k) {
      double weights[kTileSize] = {};
      each_element(i, k, m, n, [&](int64_t at, int64_t from) { weights[at] = static_cast<double>(w[from]); });
      for (int64_t j = 0; j < count; ++j) subtract(weights, factor.tile(k, j), own + j * kTileSize);
    }
  });

  const double shift = damping_shift(h, n, call.attribute(1));
  factor.fill(*call.pool, n, [=](int64_t i, int64_t j) {
    return static_cast<double>(h[i * n + j]) + (i == j ? shift : 0.0);
  });
  if (!factor.factorise(*call.pool))
    throw Error("MBOK_INVALID_ARGUMENT",
                "calibration_target: the damped second moments of the inputs are not positive definite; are they "
                "finite, is the damping too small?");
  call.pool->parallel_for(blocks, [&](int64_t i, int) {
    double* own = rows + i * count * kTileSize;
    factor.solve_rows(own);
    for (int64_t j = 0; j < count; ++j)
      each_element(i, j, m, n, [&](int64_t at, int64_t to) {
        target[to] = static_cast<float>(static_cast<double>(w[to]) + own[j * kTileSize + at]);
      });
  });
}

}  // namespace

extern const Operation calibration_target_operation;
const Operation calibration_target_operation = {"calibration_target", check, scratch_bytes, run, false};

}  // namespace mbok
