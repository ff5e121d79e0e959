// dx = dy ⊙ a'(x). Attribute: activation kind (kernels/activation/activation.h). dx may be dy.
#include "operations/activation_kind.h"
#include "operations/elements.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 2, 1, 1);
  expect_activation_kind(call, 0);
  const Tensor& x = call.input(1);
  expect_tensor(call, call.input(0), "dy", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, call.output(0), "dx", TensorType::kF32, x.rows, x.cols);
}

void run(const Call& call) {
  const ActivationKind kind = activation_kind(call, 0);
  const float* dy = call.input(0).f32();
  const float* x = call.input(1).f32();
  float* dx = call.output(0).f32();
  for_element_tasks(*call.pool, call.input(1).size(), [=](int64_t first, int64_t count) {
    activation_gradient_table.best()(kind, dy + first, x + first, dx + first, count);
  });
}

}  // namespace

extern const Operation activation_gradient_operation;
const Operation activation_gradient_operation = {"activation_gradient", check, nullptr, run, false};

}  // namespace mbok
