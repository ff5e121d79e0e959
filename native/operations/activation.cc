// y = a(x), element by element. Attribute: activation kind (kernels/activation/activation.h). y may be x.
#include "operations/activation_kind.h"
#include "operations/elements.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 1, 1, 1);
  expect_activation_kind(call, 0);
  const Tensor& x = call.input(0);
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, x.rows, x.cols);
}

void run(const Call& call) {
  const ActivationKind kind = activation_kind(call, 0);
  const float* x = call.input(0).f32();
  float* y = call.output(0).f32();
  for_element_tasks(*call.pool, call.input(0).size(),
                    [=](int64_t first, int64_t count) { activation_table.best()(kind, x + first, y + first, count); });
}

}  // namespace

extern const Operation activation_operation;
const Operation activation_operation = {"activation", check, nullptr, run, false};

}  // namespace mbok
