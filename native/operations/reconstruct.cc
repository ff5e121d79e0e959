// W = Ŵ = Σ_k diag(s_out[k])·B[k]·diag(s_in[k]) as a whole, for comparing and exporting, not for multiplying.
//   kernels bits [K·m,n], s_out [K,m], s_in [K,n] → w [m,n]
#include <cstring>

#include "kernels/dense_product/dense_product.h"
#include "operations/boolean_operand.h"
#include "runtime/memory.h"

namespace mbok {
namespace {

constexpr int64_t kRows = 64;  // per task

void check(const Call& call) {
  expect_counts(call, 3, 1, 0);
  const BooleanLayer w = expect_boolean_layer(call, 0);
  expect_tensor(call, call.output(0), "w", TensorType::kF32, w.m, w.n);
}

constexpr size_t kPanelBytes = kRows * kPanelCols * sizeof(float);

size_t worker_bytes(const BooleanOperand& operand) { return kPanelBytes + align_up(operand.scratch_bytes()); }

size_t scratch_bytes(const Call& call, int threads) {
  const BooleanOperand operand(boolean_layer(call, 0), Depth::kRows, Precision::kF32);
  return worker_bytes(operand) * static_cast<size_t>(threads);
}

void run(const Call& call) {
  const BooleanLayer weights = boolean_layer(call, 0);
  const BooleanOperand operand(weights, Depth::kRows, Precision::kF32);
  const int64_t m = weights.m, n = weights.n;
  float* w = call.output(0).f32();
  call.pool->parallel_for((m + kRows - 1) / kRows, [&](int64_t task, int worker) {
    std::byte* const scratch = call.scratch + worker_bytes(operand) * static_cast<size_t>(worker);
    const float* panel = reinterpret_cast<const float*>(scratch);
    const int64_t row = task * kRows, rows = row + kRows < m ? kRows : m - row;
    for (int64_t col = 0; col < n; col += kPanelCols) {
      const int64_t cols = col + kPanelCols < n ? kPanelCols : n - col;
      operand.pack(col, cols, row, rows, scratch, scratch + kPanelBytes);
      for (int64_t r = 0; r < rows; ++r)
        std::memcpy(w + (row + r) * n + col, panel + r * kPanelCols, static_cast<size_t>(cols) * sizeof(float));
    }
  });
}

}  // namespace

extern const Operation reconstruct_operation;
const Operation reconstruct_operation = {"reconstruct", check, scratch_bytes, run, false};

}  // namespace mbok
