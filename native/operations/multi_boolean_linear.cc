// Y = X·Ŵᵀ + bias, Ŵ = Σ_k diag(s_out[k])·B[k]·diag(s_in[k]) rebuilt panel by panel: the cost of a prompt or a training
// step does not grow with the number of kernels.
//   x [R,n], kernels bits [K·m,n], s_out [K,m], s_in [K,n], bias? [1,m] → y [R,m]
#include "operations/boolean_operand.h"
#include "operations/linear_product.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts_between(call, 4, 5, 1, 1, 1);
  const MultiBoolean w = expect_multi_boolean(call, 1);
  const int64_t rows = call.input(0).rows;
  expect_tensor(call, call.input(0), "x", TensorType::kF32, rows, w.n);
  if (call.input_count > 4) expect_tensor(call, call.input(4), "bias", TensorType::kF32, 1, w.m, true);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, rows, w.m);
}

PanelProduct describe(const Call& call) {
  return rows_product(call.input(0), call.output(0), call.has_input(4) ? call.input(4).f32() : nullptr,
                      precision_attribute(call, 0));
}

size_t scratch_bytes(const Call& call, int threads) {
  const PanelProduct p = describe(call);
  return panel_product_scratch(p, BooleanOperand(multi_boolean(call, 1), Depth::kColumns, p.precision), threads);
}

void run(const Call& call) {
  const PanelProduct p = describe(call);
  panel_product(*call.pool, p, BooleanOperand(multi_boolean(call, 1), Depth::kColumns, p.precision), call.scratch);
}

}  // namespace

extern const Operation multi_boolean_linear_operation;
const Operation multi_boolean_linear_operation = {"multi_boolean_linear", check, scratch_bytes, run, false};

}  // namespace mbok
