// dx = factor·z·w for a real upstream signal.
//   z [R,m], w bits [m,n] → dx [R,n]; attributes: factor, precision
#include "operations/linear_product.h"
#include "operations/plain_bits.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 2, 1, 2);
  const Tensor &z = call.input(0), &w = call.input(1);
  expect_tensor(call, w, "w", TensorType::kBits, w.rows, w.cols);
  expect_tensor(call, z, "z", TensorType::kF32, z.rows, w.rows);
  expect_tensor(call, call.output(0), "dx", TensorType::kF32, z.rows, w.cols);
}

PanelProduct describe(const Call& call) {
  return rows_product(call.input(0), call.output(0), nullptr, precision_attribute(call, 1));
}

size_t scratch_bytes(const Call& call, int threads) {
  Scratch scratch(nullptr);
  const PlainBits w(call.input(1), scratch);
  const PanelProduct p = describe(call);
  return scratch.used() + panel_product_scratch(p, BooleanOperand(w.weights(), Depth::kRows, p.precision), threads);
}

void run(const Call& call) {
  Scratch scratch(call.scratch);
  const PlainBits w(call.input(1), scratch);
  const PanelProduct p = describe(call);
  const BooleanOperand operand(w.scaled(static_cast<float>(call.attribute(0))), Depth::kRows, p.precision);
  panel_product(*call.pool, p, operand, call.scratch + scratch.used());
}

}  // namespace

extern const Operation boolean_linear_gradient_input_operation;
const Operation boolean_linear_gradient_input_operation = {"boolean_linear_gradient_input", check, scratch_bytes, run,
                                                           false};

}  // namespace mbok
