// dW += dYᵀ·X.
//   dy [R,m], x [R,n] → += dW [m,n]
#include "operations/product.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 2, 1, 1);
  const Tensor& dy = call.input(0);
  const Tensor& x = call.input(1);
  expect_tensor(call, dy, "dy", TensorType::kF32, dy.rows, dy.cols);
  expect_tensor(call, x, "x", TensorType::kF32, dy.rows, x.cols);
  expect_tensor(call, call.output(0), "dW", TensorType::kF32, dy.cols, x.cols);
}

ProductShape shape(const Call& call) {
  const int64_t m = call.input(0).cols, n = call.input(1).cols;
  return {m, n, call.input(0).rows, m, n, n, true, true, true};
}

size_t scratch_bytes(const Call& call, int threads) {
  return product_scratch(shape(call), precision_attribute(call, 0), threads);
}

void run(const Call& call) {
  product(*call.pool, call.input(0).f32(), call.input(1).f32(), call.output(0).f32(), shape(call),
          precision_attribute(call, 0), call.scratch);
}

}  // namespace

extern const Operation linear_gradient_weight_operation;
const Operation linear_gradient_weight_operation = {"linear_gradient_weight", check, scratch_bytes, run, false};

}  // namespace mbok
