// y = a(gate) ⊙ up. Attribute: activation kind (kernels/activation/activation.h). y may be gate.
#include "kernels/gated_activation/gated_activation.h"

#include "operations/activation_kind.h"
#include "operations/elements.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 2, 1, 1);
  expect_activation_kind(call, 0);
  const Tensor& gate = call.input(0);
  expect_tensor(call, gate, "gate", TensorType::kF32, gate.rows, gate.cols);
  expect_tensor(call, call.input(1), "up", TensorType::kF32, gate.rows, gate.cols);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, gate.rows, gate.cols);
}

void run(const Call& call) {
  const ActivationKind kind = activation_kind(call, 0);
  const float* gate = call.input(0).f32();
  const float* up = call.input(1).f32();
  float* y = call.output(0).f32();
  for_element_tasks(*call.pool, call.input(0).size(), [=](int64_t first, int64_t count) {
    gated_activation_table.best()(kind, gate + first, up + first, y + first, count);
  });
}

}  // namespace

extern const Operation gated_activation_operation;
const Operation gated_activation_operation = {"gated_activation", check, nullptr, run, false};

}  // namespace mbok
