// y = x·wᵀ + bias with ±1 inputs and weights (BOLD, arXiv 2405.16339). The products are integers, exact in f32.
//   x bits [R,n], w bits [m,n], bias? [1,m] → y [R,m]; attribute: the factor of the input gradient, not read here
#include "operations/boolean_product.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts_between(call, 2, 3, 1, 1, 1);
  const Tensor &x = call.input(0), &w = call.input(1);
  expect_tensor(call, x, "x", TensorType::kBits, x.rows, w.cols);
  expect_tensor(call, w, "w", TensorType::kBits, w.rows, w.cols);
  if (call.has_input(2)) expect_tensor(call, call.input(2), "bias", TensorType::kF32, 1, w.rows);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, x.rows, w.rows);
}

size_t scratch_bytes(const Call& call, int) {
  const Tensor& w = call.input(1);
  return static_cast<size_t>(packed_words(w.rows, w.words())) * sizeof(uint64_t);
}

void run(const Call& call) {
  const Tensor &x = call.input(0), &w = call.input(1);
  auto* const packed = reinterpret_cast<uint64_t*>(call.scratch);
  pack_bits(*call.pool, w.bits(), w.rows, w.cols, packed);
  BooleanProduct p = {};
  p.x = x.bits();
  p.w = packed;
  p.rows = x.rows;
  p.cols = w.rows;
  p.words = x.words();
  p.depth = x.cols;
  p.factor = 1;
  p.bias = call.has_input(2) ? call.input(2).f32() : nullptr;
  p.y = call.output(0).f32();
  p.y_stride = w.rows;
  boolean_product(*call.pool, p);
}

}  // namespace

extern const Operation boolean_linear_operation;
const Operation boolean_linear_operation = {"boolean_linear", check, scratch_bytes, run, false};

}  // namespace mbok
