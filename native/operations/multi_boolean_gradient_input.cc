// dX = dY·Ŵ, with Ŵ rebuilt panel by panel as in multi_boolean_linear.
//   dy [R,m], kernels bits [K·m,n], s_out [K,m], s_in [K,n] → dx [R,n]
#include "operations/boolean_operand.h"
#include "operations/linear_product.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 4, 1, 1);
  const BooleanLayer w = expect_boolean_layer(call, 1);
  const int64_t rows = call.input(0).rows;
  expect_tensor(call, call.input(0), "dy", TensorType::kF32, rows, w.m);
  expect_tensor(call, call.output(0), "dx", TensorType::kF32, rows, w.n);
}

PanelProduct describe(const Call& call) {
  return rows_product(call.input(0), call.output(0), nullptr, precision_attribute(call, 0));
}

size_t scratch_bytes(const Call& call, int threads) {
  const PanelProduct p = describe(call);
  return panel_product_scratch(p, BooleanOperand(boolean_layer(call, 1), Depth::kRows, p.precision), threads);
}

void run(const Call& call) {
  const PanelProduct p = describe(call);
  panel_product(*call.pool, p, BooleanOperand(boolean_layer(call, 1), Depth::kRows, p.precision), call.scratch);
}

}  // namespace

extern const Operation multi_boolean_gradient_input_operation;
const Operation multi_boolean_gradient_input_operation = {"multi_boolean_gradient_input", check, scratch_bytes, run,
                                                          false};

}  // namespace mbok
