// W' = W + R Ĥ⁻¹, where Ĥ are the damped second moments of a layer's inputs as compensation_factor factored them: Ĥ⁻¹ =
// UᵀU with rows and columns in `order`. R = Zᵀ X̃ / N, where Z [N, m] are the errors of the layer's outputs in the
// model as converted so far and X̃ its inputs there. R Ĥ⁻¹ is then the damped least-squares fit of Z on X̃.
//
// Two products with U, a panel of rows at a time, so only U takes n² numbers.
//
// inputs w [m, n], r [m, n], u [n, n] upper triangular, order i32 [n, 1] (place → column); output target [m, n]
// (may be the same memory as w or r)
#include <algorithm>

#include "operations/product.h"
#include "operations/scratch.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr int64_t kRows = 512;

void check(const Call& call) {
  expect_counts(call, 4, 1, 0);
  const int64_t m = call.input(0).rows, n = call.input(0).cols;
  expect_tensor(call, call.input(0), "w", TensorType::kF32, m, n);
  expect_tensor(call, call.input(1), "r", TensorType::kF32, m, n);
  expect_tensor(call, call.input(2), "u", TensorType::kF32, n, n);
  expect_tensor(call, call.input(3), "order", TensorType::kI32, n, 1);
  expect_tensor(call, call.output(0), "target", TensorType::kF32, m, n);
}

// X·Uᵀ, then the result times U.
ProductShape times_u(int64_t rows, int64_t n, bool transposed) {
  return {rows, n, n, n, n, n, false, !transposed, false};
}

struct Parts {
  float *ordered, *halfway;
  std::byte* product;

  Parts(const Call& call, int threads, Scratch& scratch) {
    const int64_t n = call.input(0).cols, rows = std::min(kRows, call.input(0).rows);
    ordered = scratch.take<float>(rows * n);
    halfway = scratch.take<float>(rows * n);
    product = scratch.take<std::byte>(
        static_cast<int64_t>(std::max(product_scratch(times_u(rows, n, true), Precision::kF32, threads),
                                      product_scratch(times_u(rows, n, false), Precision::kF32, threads))));
  }
};

size_t scratch_bytes(const Call& call, int threads) {
  Scratch scratch(nullptr);
  const Parts parts(call, threads, scratch);
  return scratch.used();
}

void run(const Call& call) {
  const int64_t m = call.input(0).rows, n = call.input(0).cols;
  const float* w = call.input(0).f32();
  const float* r = call.input(1).f32();
  const float* u = call.input(2).f32();
  const int32_t* order = call.input(3).i32();
  float* target = call.output(0).f32();
  for (int64_t p = 0; p < n; ++p)
    if (order[p] < 0 || order[p] >= n)
      throw Error("MBOK_INVALID_ARGUMENT", "calibration_target: 'order' must be a permutation of the columns");
  Scratch scratch(call.scratch);
  const Parts parts(call, call.pool->threads(), scratch);
  for (int64_t first = 0; first < m; first += kRows) {
    const int64_t rows = std::min(kRows, m - first);
    call.pool->parallel_for(rows, [&](int64_t i, int) {
      for (int64_t p = 0; p < n; ++p) parts.ordered[i * n + p] = r[(first + i) * n + order[p]];
    });
    product(*call.pool, parts.ordered, u, parts.halfway, times_u(rows, n, true), Precision::kF32, parts.product);
    product(*call.pool, parts.halfway, u, parts.ordered, times_u(rows, n, false), Precision::kF32, parts.product);
    call.pool->parallel_for(rows, [&](int64_t i, int) {
      const int64_t row = (first + i) * n;
      for (int64_t p = 0; p < n; ++p) target[row + order[p]] = w[row + order[p]] + parts.ordered[i * n + p];
    });
  }
}

}  // namespace

extern const Operation calibration_target_operation;
const Operation calibration_target_operation = {"calibration_target", check, scratch_bytes, run, false};

}  // namespace mbok
