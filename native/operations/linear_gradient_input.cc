// dX = dY·W.
//   dy [R,m], w [m,n] → dx [R,n]
#include "operations/linear_product.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 2, 1, 1);
  const Tensor& dy = call.input(0);
  const Tensor& w = call.input(1);
  expect_tensor(call, w, "w", TensorType::kF32, w.rows, w.cols);
  expect_tensor(call, dy, "dy", TensorType::kF32, dy.rows, w.rows);
  expect_tensor(call, call.output(0), "dx", TensorType::kF32, dy.rows, w.cols);
}

PanelProduct describe(const Call& call) {
  return rows_product(call.input(0), call.output(0), nullptr, precision_attribute(call, 0));
}

size_t scratch_bytes(const Call& call, int threads) {
  const PanelProduct p = describe(call);
  const Tensor& w = call.input(1);
  return panel_product_scratch(p, DenseOperand(w.f32(), w.cols, true, p.precision), threads);
}

void run(const Call& call) {
  const PanelProduct p = describe(call);
  const Tensor& w = call.input(1);
  panel_product(*call.pool, p, DenseOperand(w.f32(), w.cols, true, p.precision), call.scratch);
}

}  // namespace

extern const Operation linear_gradient_input_operation;
const Operation linear_gradient_input_operation = {"linear_gradient_input", check, scratch_bytes, run, false};

}  // namespace mbok
