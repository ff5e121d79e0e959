// dx = factor·z·w for a Boolean upstream signal: integers times the factor, by popcount with the transposed weights.
//   z bits [R,m], w bits [m,n] → dx [R,n]; attribute: factor
#include "operations/boolean_product.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 2, 1, 1);
  const Tensor &z = call.input(0), &w = call.input(1);
  expect_tensor(call, z, "z", TensorType::kBits, z.rows, w.rows);
  expect_tensor(call, w, "w", TensorType::kBits, w.rows, w.cols);
  expect_tensor(call, call.output(0), "dx", TensorType::kF32, z.rows, w.cols);
}

size_t scratch_bytes(const Call& call, int) {
  const Tensor& w = call.input(1);
  return static_cast<size_t>(packed_words(w.cols, words_per_row(w.rows))) * sizeof(uint64_t);
}

void run(const Call& call) {
  const Tensor &z = call.input(0), &w = call.input(1);
  auto* const packed = reinterpret_cast<uint64_t*>(call.scratch);
  pack_transposed_bits(*call.pool, w.bits(), w.rows, w.cols, packed);
  BooleanProduct p = {};
  p.x = z.bits();
  p.w = packed;
  p.rows = z.rows;
  p.cols = w.cols;
  p.words = z.words();
  p.depth = w.rows;
  p.factor = static_cast<float>(call.attribute(0));
  p.y = call.output(0).f32();
  p.y_stride = w.cols;
  boolean_product(*call.pool, p);
}

}  // namespace

extern const Operation boolean_linear_gradient_input_boolean_operation;
const Operation boolean_linear_gradient_input_boolean_operation = {"boolean_linear_gradient_input_boolean", check,
                                                                   scratch_bytes, run, false};

}  // namespace mbok
