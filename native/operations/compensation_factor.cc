// Computes the factor by which compensated_signs distributes the error of a column over later ones. With Ĥ = H +
// damping · mean(diag H) · I, rows and columns in `order` (falling H_jj, ties in their order), U is upper triangular
// with UᵀU = Ĥ⁻¹ (order and feedback as in GPTQ, arXiv 2210.17323).
//
// With J the reversal of rows, J Ĥ J = L Lᵀ gives Ĥ = (J L J)(J L J)ᵀ with J L J upper triangular, so U = J L⁻¹ J. This
// takes one factorization and one triangular inverse instead of the usual inverse between two factorizations. Sums are
// f64; the factor is stored as f32 (operations/linear_algebra.h), the only scratch of n² numbers.
//
// input h [n, n] symmetric; outputs u [n, n], order i32 [n, 1] (place → column); attribute damping
#include <algorithm>
#include <cmath>

#include "operations/damping.h"
#include "operations/linear_algebra.h"
#include "operations/scratch.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 1, 2, 1);
  const int64_t n = call.input(0).cols;
  expect_tensor(call, call.input(0), "h", TensorType::kF32, n, n);
  expect_tensor(call, call.output(0), "u", TensorType::kF32, n, n);
  expect_tensor(call, call.output(1), "order", TensorType::kI32, n, 1);
  expect(call, call.attribute(0) >= 0, "damping must not be negative");
}

// Copies of the diagonal and its order: outputs may overlap h, and std::sort reads out of bounds when its keys change.
struct Parts {
  TiledFactor factor;
  float* diagonal;
  int32_t* order;

  Parts(int64_t n, int threads, Scratch& scratch)
      : factor(n, threads, scratch), diagonal(scratch.take<float>(n)), order(scratch.take<int32_t>(n)) {}
};

size_t scratch_bytes(const Call& call, int threads) {
  Scratch scratch(nullptr);
  const Parts parts(call.input(0).cols, threads, scratch);
  return scratch.used();
}

void run(const Call& call) {
  const int64_t n = call.input(0).cols;
  const float* h = call.input(0).f32();
  float* u = call.output(0).f32();
  Scratch scratch(call.scratch);
  const Parts parts(n, call.pool->threads(), scratch);
  int32_t* const order = parts.order;
  const float* const diagonal = parts.diagonal;
  for (int64_t j = 0; j < n; ++j) {
    parts.diagonal[j] = h[j * n + j];
    // a NaN would violate the strict weak ordering that sort needs
    if (!std::isfinite(diagonal[j])) throw Error("MBOK_NON_FINITE", "compensation_factor: H is not finite");
    order[j] = static_cast<int32_t>(j);
  }
  std::sort(order, order + n,
            [=](int32_t a, int32_t b) { return diagonal[a] > diagonal[b] || (diagonal[a] == diagonal[b] && a < b); });

  const TiledFactor& factor = parts.factor;
  const double shift = damping_shift(h, n, call.attribute(0));
  factor.fill(*call.pool, n, [=](int64_t i, int64_t j) {
    const int64_t row = order[n - 1 - i], col = order[n - 1 - j];
    return static_cast<float>(static_cast<double>(h[row * n + col]) + (i == j ? shift : 0.0));
  });
  if (!factor.factorize(*call.pool))
    throw Error("MBOK_INVALID_ARGUMENT",
                "compensation_factor: the damped second moments of the inputs are not positive definite; are they "
                "finite, is the damping too small?");

  std::copy(order, order + n, call.output(1).i32());
  std::fill(u, u + n * n, 0.0f);
  const int64_t count = factor.count();
  call.pool->parallel_for(count, [&](int64_t j, int worker) {
    const double* column = factor.invert_column(j, worker);
    const int64_t first = j * kTile, last = std::min(n, first + kTile);
    for (int64_t i = first; i < n; ++i)
      for (int64_t s = first; s < std::min(last, i + 1); ++s)
        u[(n - 1 - i) * n + n - 1 - s] = static_cast<float>(column[i * kTile + s - first]);
  });
}

}  // namespace

extern const Operation compensation_factor_operation;
const Operation compensation_factor_operation = {"compensation_factor", check, scratch_bytes, run, false};

}  // namespace mbok
