// X = (B + p (Z − U)) (G + p I)⁻¹ with p = ridge · mean(diag G): ridge regression of rows, towards Z − U where given.
// G = L Lᵀ is factored once. Few rows are multiplied by the two triangular inverses, many by the product of these.
//
// inputs g [r, r] symmetric, b [q, r], ridge [1, 1], z?, u? [q, r]; output x [q, r] (not the memory of an input)
#include <algorithm>
#include <cmath>

#include "operations/damping.h"
#include "operations/linear_algebra.h"
#include "operations/product.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts_between(call, 3, 5, 1, 1, 0);
  const int64_t r = call.input(0).cols, q = call.input(1).rows;
  expect_tensor(call, call.input(0), "g", TensorType::kF32, r, r);
  expect_tensor(call, call.input(1), "b", TensorType::kF32, q, r);
  expect_tensor(call, call.input(2), "ridge", TensorType::kF32, 1, 1);
  expect(call, call.has_input(3) == call.has_input(4), "'z' and 'u' come together");
  for (int i = 3; i < call.input_count; ++i) expect_tensor(call, call.input(i), "z", TensorType::kF32, q, r, true);
  expect_tensor(call, call.output(0), "x", TensorType::kF32, q, r);
}

// C[q, r] = A[q, r] · L⁻ᵀ, or · L⁻¹.
ProductShape times_inverse(int64_t q, int64_t r, bool transposed) {
  return {q, r, r, r, r, r, false, !transposed, false};
}

// C[r, r] = L⁻ᵀ · L⁻¹.
ProductShape whole_inverse(int64_t r) { return {r, r, r, r, r, r, true, true, false}; }

struct Parts {
  Parts(int64_t q, int64_t r, int threads, Scratch& scratch)
      : factor(r, threads, scratch),
        inverse(scratch.take<float>(r * r)),
        rows(scratch.take<float>(q * r)),
        halfway(scratch.take<float>(std::min(q, r) * r)),
        product(scratch.take<std::byte>(static_cast<int64_t>(
            std::max({product_scratch(times_inverse(q, r, true), Precision::kF32, threads),
                      product_scratch(times_inverse(q, r, false), Precision::kF32, threads),
                      product_scratch(whole_inverse(r), Precision::kF32, threads)})))) {}

  TiledFactor factor;
  float *inverse, *rows;
  float* halfway;  // rows · L⁻ᵀ [q, r], or L⁻ᵀ · L⁻¹ [r, r] if that is smaller
  std::byte* product;
};

size_t scratch_bytes(const Call& call, int threads) {
  Scratch scratch(nullptr);
  const Parts parts(call.input(1).rows, call.input(0).cols, threads, scratch);
  return scratch.used();
}

void run(const Call& call) {
  const int64_t r = call.input(0).cols, q = call.input(1).rows;
  ThreadPool& pool = *call.pool;
  Scratch scratch(call.scratch);
  const Parts parts(q, r, pool.threads(), scratch);
  const float* const g = call.input(0).f32();
  const double shift = damping_shift(g, r, static_cast<double>(*call.input(2).f32()));
  parts.factor.fill(pool, r, [=](int64_t i, int64_t j) {
    return static_cast<float>(static_cast<double>(g[i * r + j]) + (i == j ? shift : 0.0));
  });
  if (!parts.factor.factorize(pool))
    throw Error("MBOK_NON_FINITE", "ridge_solve: the matrix is not positive definite; are its inputs finite?");
  std::fill(parts.inverse, parts.inverse + r * r, 0.0f);
  pool.parallel_for(parts.factor.count(), [&](int64_t tile, int worker) {
    const double* const column = parts.factor.invert_column(tile, worker);
    const int64_t first = tile * kTile, last = std::min(r, first + kTile);
    for (int64_t i = first; i < r; ++i)
      for (int64_t j = first; j < std::min(last, i + 1); ++j)
        parts.inverse[i * r + j] = static_cast<float>(column[i * kTile + j - first]);
  });
  const float* rows = call.input(1).f32();
  if (call.has_input(3)) {
    const float *const b = rows, *const z = call.input(3).f32(), *const u = call.input(4).f32();
    const auto pull = static_cast<float>(shift);
    pool.parallel_for(q, [&](int64_t row, int) {
      for (int64_t i = row * r; i < (row + 1) * r; ++i) parts.rows[i] = b[i] + pull * (z[i] - u[i]);
    });
    rows = parts.rows;
  }
  const auto multiply = [&](const float* a, const float* b, float* c, const ProductShape& shape) {
    product(pool, a, b, c, shape, Precision::kF32, parts.product);
  };
  float* const x = call.output(0).f32();
  if (q > r) {
    multiply(parts.inverse, parts.inverse, parts.halfway, whole_inverse(r));
    multiply(rows, parts.halfway, x, times_inverse(q, r, true));
  } else {
    multiply(rows, parts.inverse, parts.halfway, times_inverse(q, r, true));
    multiply(parts.halfway, parts.inverse, x, times_inverse(q, r, false));
  }
}

}  // namespace

extern const Operation ridge_solve_operation;
const Operation ridge_solve_operation = {"ridge_solve", check, scratch_bytes, run, false};

}  // namespace mbok
