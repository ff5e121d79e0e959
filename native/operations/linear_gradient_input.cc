// dX = dY·W.
//   dy [R,m], w [m,n] (any type of weights.h), scales? [m,1] → dx [R,n]
#include "operations/linear_product.h"
#include "operations/weights.h"

namespace mbok {
namespace {

constexpr int kWeights = 1, kScales = 2;

void check(const Call& call) {
  expect_counts_between(call, 2, 3, 1, 1, 1);
  const Tensor& dy = call.input(0);
  const Tensor& w = call.input(kWeights);
  expect_weights(call, kWeights, kScales, "w");
  expect_tensor(call, dy, "dy", TensorType::kF32, dy.rows, w.rows);
  expect_tensor(call, call.output(0), "dx", TensorType::kF32, dy.rows, w.cols);
}

PanelProduct describe(const Call& call) {
  return rows_product(call.input(0), call.output(0), nullptr, precision_attribute(call, 0));
}

WeightOperand operand(const Call& call, const PanelProduct& p) {
  return WeightOperand(Weights(call, kWeights, kScales), true, p.precision);
}

size_t scratch_bytes(const Call& call, int threads) {
  const PanelProduct p = describe(call);
  return panel_product_scratch(p, operand(call, p), threads);
}

void run(const Call& call) {
  const PanelProduct p = describe(call);
  panel_product(*call.pool, p, operand(call, p), call.scratch);
}

}  // namespace

extern const Operation linear_gradient_input_operation;
const Operation linear_gradient_input_operation = {"linear_gradient_input", check, scratch_bytes, run, false};

}  // namespace mbok
