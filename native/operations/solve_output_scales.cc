// Fits s_out for given signs and input scales: every row i solves (A + 1e-5 · mean(diag A) · I) s = P H w'ᵢ, K × K,
// with A = P H Pᵀ, P[k]_j = B[k, i, j] s_in[k]_j and H without damping. This minimizes the error on the calibration
// inputs.
//
// One product multiplies all kernels of a panel of rows by H; the K × K systems are f64.
//
// inputs target [m, n], h [n, n] symmetric, kernels bits [K·m, n], s_in [K, n]; output s_out [K, m]
#include <algorithm>

#include "kernels/dot/dot.h"
#include "operations/calibrated.h"
#include "operations/normal_equations.h"
#include "runtime/memory.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr double kRidge = 1e-5;
void check(const Call& call) {
  expect_counts(call, 4, 1, 0);
  const int64_t m = call.input(0).rows, n = call.input(0).cols, kernels = call.input(3).rows;
  expect_calibrated_signs(call);
  expect_tensor(call, call.input(3), "s_in", TensorType::kF32, kernels, n);
  expect_tensor(call, call.output(0), "s_out", TensorType::kF32, kernels, m);
}

size_t design_bytes(const Call& call) {
  const int64_t rows = std::min(kCalibratedRows, call.input(0).rows) * call.input(3).rows;
  return align_up(static_cast<size_t>(rows * call.input(0).cols) * sizeof(float));
}

size_t scratch_bytes(const Call& call, int threads) {
  const int64_t rows = std::min(kCalibratedRows, call.input(0).rows) * call.input(3).rows;
  return 2 * design_bytes(call) + product_scratch(times_h(rows, call.input(0).cols), Precision::kF32, threads);
}

void run(const Call& call) {
  const int64_t m = call.input(0).rows, n = call.input(0).cols, words = call.input(2).words();
  const int kernels = static_cast<int>(call.input(3).rows);
  const float* target = call.input(0).f32();
  const uint64_t* bits = call.input(2).bits();
  const float* s_in = call.input(3).f32();
  float* s_out = call.output(0).f32();
  float* design = reinterpret_cast<float*>(call.scratch);  // row i, kernel k of the panel at (i·K + k)·n
  float* weighted = reinterpret_cast<float*>(call.scratch + design_bytes(call));  // design · H
  std::byte* scratch = call.scratch + 2 * design_bytes(call);

  for (int64_t first = 0; first < m; first += kCalibratedRows) {
    const int64_t rows = std::min(kCalibratedRows, m - first);
    call.pool->parallel_for(rows, [&](int64_t i, int) {
      for (int k = 0; k < kernels; ++k)
        design_row_table.best()(bits + (k * m + first + i) * words, s_in + k * n, n, design + (i * kernels + k) * n);
    });
    product(*call.pool, design, call.input(1).f32(), weighted, times_h(rows * kernels, n), Precision::kF32, scratch);
    call.pool->parallel_for(rows, [&](int64_t i, int) {
      double gram[kMaxUnknowns * kMaxUnknowns], moment[kMaxUnknowns], x[kMaxUnknowns];
      for (int k = 0; k < kernels; ++k) {
        const float* own = weighted + (i * kernels + k) * n;
        moment[k] = dot_table.best()(own, target + (first + i) * n, n);
        for (int l = 0; l <= k; ++l)
          gram[k * kernels + l] = gram[l * kernels + k] = dot_table.best()(own, design + (i * kernels + l) * n, n);
      }
      solve_normal_equations(gram, moment, kernels, kRidge, x);
      for (int k = 0; k < kernels; ++k) s_out[k * m + first + i] = static_cast<float>(x[k]);
    });
  }
}

}  // namespace

extern const Operation solve_output_scales_operation;
const Operation solve_output_scales_operation = {"solve_output_scales", check, scratch_bytes, run, false};

}  // namespace mbok
