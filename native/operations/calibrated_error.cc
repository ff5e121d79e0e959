// The error of a converted matrix on the calibration inputs: √(tr(D H Dᵀ) / tr(W' H W'ᵀ)) with D = W' − Ŵ and H without
// damping. It is 0 if tr(W' H W'ᵀ) is 0.
//
// inputs target [m, n], h [n, n] symmetric, kernels bits [K·m, n], s_out [K, m], s_in [K, n]; output error [1, 1]
#include <algorithm>
#include <cmath>

#include "kernels/dot/dot.h"
#include "operations/calibrated.h"
#include "runtime/memory.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 5, 1, 0);
  const int64_t m = call.input(0).rows, n = call.input(0).cols, kernels = call.input(3).rows;
  expect_calibrated_signs(call);
  expect_tensor(call, call.input(3), "s_out", TensorType::kF32, kernels, m);
  expect_tensor(call, call.input(4), "s_in", TensorType::kF32, kernels, n);
  expect_tensor(call, call.output(0), "error", TensorType::kF32, 1, 1);
}

size_t panel_bytes(const Call& call) {
  const int64_t rows = std::min(kCalibratedRows, call.input(0).rows);
  return align_up(static_cast<size_t>(rows * call.input(0).cols) * sizeof(float));
}

// D and its product with H, the quadratic forms of a panel's rows, the product's scratch.
size_t scratch_bytes(const Call& call, int threads) {
  const int64_t rows = std::min(kCalibratedRows, call.input(0).rows);
  return 2 * panel_bytes(call) + kCalibratedRows * sizeof(double) +
         product_scratch(times_h(rows, call.input(0).cols), Precision::kF32, threads);
}

void run(const Call& call) {
  const int64_t m = call.input(0).rows, n = call.input(0).cols, words = call.input(2).words();
  const int kernels = static_cast<int>(call.input(3).rows);
  const float* target = call.input(0).f32();
  const float* s_out = call.input(3).f32();
  float* rest = reinterpret_cast<float*>(call.scratch);
  float* weighted = reinterpret_cast<float*>(call.scratch + panel_bytes(call));
  double* forms = reinterpret_cast<double*>(call.scratch + 2 * panel_bytes(call));
  std::byte* scratch = call.scratch + 2 * panel_bytes(call) + kCalibratedRows * sizeof(double);

  // returns tr(X H Xᵀ) of a panel
  const auto trace = [&](const float* x, int64_t rows) {
    product(*call.pool, x, call.input(1).f32(), weighted, times_h(rows, n), Precision::kF32, scratch);
    call.pool->parallel_for(rows, [&](int64_t i, int) { forms[i] = dot_table.best()(weighted + i * n, x + i * n, n); });
    double sum = 0;
    for (int64_t i = 0; i < rows; ++i) sum += forms[i];
    return sum;
  };
  double error = 0, own = 0;
  for (int64_t first = 0; first < m; first += kCalibratedRows) {
    const int64_t rows = std::min(kCalibratedRows, m - first);
    call.pool->parallel_for(rows, [&](int64_t i, int) {
      float scales[kMaxRefitKernels];
      for (int k = 0; k < kernels; ++k) scales[k] = s_out[k * m + first + i];
      const CodeRow<const uint64_t> row = {
          call.input(2).bits() + (first + i) * words, m * words, scales, call.input(4).f32(), n, kernels};
      residual_row_table.best()(target + (first + i) * n, row, n, rest + i * n);
    });
    error += trace(rest, rows);
    own += trace(target + first * n, rows);
  }
  // rounding may make a form near zero negative
  call.output(0).f32()[0] = own > 0 ? static_cast<float>(std::sqrt(std::max(0.0, error) / own)) : 0.0f;
}

}  // namespace

extern const Operation calibrated_error_operation;
const Operation calibrated_error_operation = {"calibrated_error", check, scratch_bytes, run, false};

}  // namespace mbok
