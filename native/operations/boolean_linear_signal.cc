// q += zᵀ·x for a real upstream signal and Boolean inputs.
//   z [R,m], x bits [R,n] → += q [m,n]; attribute: precision
#include "operations/linear_product.h"
#include "operations/plain_bits.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 2, 1, 1);
  const Tensor &z = call.input(0), &x = call.input(1);
  expect_tensor(call, z, "z", TensorType::kF32, x.rows, z.cols);
  expect_tensor(call, x, "x", TensorType::kBits, x.rows, x.cols);
  expect_tensor(call, call.output(0), "q", TensorType::kF32, z.cols, x.cols);
}

PanelProduct describe(const Call& call) {
  const Tensor &z = call.input(0), &x = call.input(1);
  PanelProduct p = {};
  p.m = z.cols;
  p.n = x.cols;
  p.depth = z.rows;
  p.a = z.f32();
  p.a_stride = z.cols;
  p.a_transposed = true;
  p.precision = precision_attribute(call, 0);
  p.c = call.output(0).f32();
  p.c_stride = x.cols;
  p.accumulate = true;
  return p;
}

size_t scratch_bytes(const Call& call, int threads) {
  Scratch scratch(nullptr);
  const PlainBits x(call.input(1), scratch);
  const PanelProduct p = describe(call);
  return scratch.used() + panel_product_scratch(p, BooleanOperand(x.weights(), Depth::kRows, p.precision), threads);
}

void run(const Call& call) {
  Scratch scratch(call.scratch);
  const PlainBits x(call.input(1), scratch);
  const PanelProduct p = describe(call);
  panel_product(*call.pool, p, BooleanOperand(x.scaled(1), Depth::kRows, p.precision), call.scratch + scratch.used());
}

}  // namespace

extern const Operation boolean_linear_signal_operation;
const Operation boolean_linear_signal_operation = {"boolean_linear_signal", check, scratch_bytes, run, false};

}  // namespace mbok
