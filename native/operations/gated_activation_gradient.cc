// dgate = dy ⊙ up ⊙ a'(gate), dup = dy ⊙ a(gate). Attribute: activation kind (kernels/activation/activation.h).
#include "kernels/gated_activation/gated_activation.h"
#include "operations/activation_kind.h"
#include "operations/elements.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 3, 2, 1);
  expect_activation_kind(call, 0);
  const Tensor& dy = call.input(0);
  expect_tensor(call, dy, "dy", TensorType::kF32, dy.rows, dy.cols);
  expect_tensor(call, call.input(1), "gate", TensorType::kF32, dy.rows, dy.cols);
  expect_tensor(call, call.input(2), "up", TensorType::kF32, dy.rows, dy.cols);
  expect_tensor(call, call.output(0), "dgate", TensorType::kF32, dy.rows, dy.cols);
  expect_tensor(call, call.output(1), "dup", TensorType::kF32, dy.rows, dy.cols);
}

void run(const Call& call) {
  const ActivationKind kind = activation_kind(call, 0);
  const float* dy = call.input(0).f32();
  const float* gate = call.input(1).f32();
  const float* up = call.input(2).f32();
  float* dgate = call.output(0).f32();
  float* dup = call.output(1).f32();
  for_element_tasks(*call.pool, call.input(0).size(), [=](int64_t first, int64_t count) {
    gated_activation_gradient_table.best()(kind, dy + first, gate + first, up + first, dgate + first, dup + first,
                                           count);
  });
}

}  // namespace

extern const Operation gated_activation_gradient_operation;
const Operation gated_activation_gradient_operation = {"gated_activation_gradient", check, nullptr, run, false};

}  // namespace mbok
