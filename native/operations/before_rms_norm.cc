// The change of y that makes its RMS norm gain z. With norm(y) = g ⊙ ŷ, ŷ = y / ρ, g = offset + w, ρ = √(mean(y²) +
// eps),
//
//   dy = ρ (u − ŷ mean(ŷ ⊙ u)),  u_j = g_j z_j / (g_j² + z_j²)   (0 if both are 0)
//
// u_j minimizes (1 − g_j u_j / z_j)² + u_j²: the share of z_j that remains, and the change of ŷ_j. For g_j much larger
// than z_j this is z_j / g_j, the norm's inverse at fixed ρ. For smaller g_j, z_j / g_j would take so much of the row
// that ρ grew and all other channels shrank; u_j is at most ½. The component along ŷ is removed, since the norm drops
// the length of y and no y could provide it. On Gemma 3 270M this gains 4 % of perplexity at K = 2.
//
// inputs z [R, n], y [R, n], w [1, n]; output dy [R, n]; attributes: eps, offset
#include <cmath>

#include "kernels/dot/dot.h"
#include "operations/rows.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 3, 1, 2);
  const Tensor& y = call.input(1);
  expect_tensor(call, call.input(0), "z", TensorType::kF32, y.rows, y.cols);
  expect_tensor(call, y, "y", TensorType::kF32, y.rows, y.cols);
  expect_tensor(call, call.input(2), "w", TensorType::kF32, 1, y.cols);
  expect_tensor(call, call.output(0), "dy", TensorType::kF32, y.rows, y.cols);
}

void run(const Call& call) {
  const int64_t n = call.input(1).cols;
  const double eps = call.attribute(0), offset = call.attribute(1);
  const float* w = call.input(2).f32();
  for_row_tasks(*call.pool, split_rows(call.input(1).rows, 3 * n), [=](int64_t first, int64_t count) {
    for (int64_t i = first; i < first + count; ++i) {
      const float* z = call.input(0).f32() + i * n;
      const float* y = call.input(1).f32() + i * n;
      float* dy = call.output(0).f32() + i * n;
      const double rho = std::sqrt(dot_table.best()(y, y, n) / static_cast<double>(n) + eps);
      for (int64_t j = 0; j < n; ++j) {
        const double g = w[j] + offset, squares = g * g + static_cast<double>(z[j]) * z[j];
        dy[j] = squares == 0 ? 0.0f : static_cast<float>(rho * (g * z[j] / squares));
      }
      // a row of zeros has no direction
      const double along = rho > 0 ? dot_table.best()(dy, y, n) / (static_cast<double>(n) * rho * rho) : 0;
      for (int64_t j = 0; j < n; ++j) dy[j] -= static_cast<float>(along * y[j]);
    }
  });
}

}  // namespace

extern const Operation before_rms_norm_operation;
const Operation before_rms_norm_operation = {"before_rms_norm", check, nullptr, run, false};

}  // namespace mbok
