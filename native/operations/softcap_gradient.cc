// dx of softcap. dx may be dy. Attribute: cap.
#include "kernels/softcap/softcap.h"
#include "operations/elements.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 2, 1, 1);
  const Tensor& x = call.input(1);
  expect(call, call.attribute(0) > 0, "the cap must be positive");
  expect_tensor(call, call.input(0), "dy", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, call.output(0), "dx", TensorType::kF32, x.rows, x.cols);
}

void run(const Call& call) {
  const float cap = static_cast<float>(call.attribute(0));
  const float* dy = call.input(0).f32();
  const float* x = call.input(1).f32();
  float* dx = call.output(0).f32();
  for_element_tasks(*call.pool, call.input(1).size(), [=](int64_t first, int64_t count) {
    softcap_gradient_table.best()(cap, dy + first, x + first, dx + first, count);
  });
}

}  // namespace

extern const Operation softcap_gradient_operation;
const Operation softcap_gradient_operation = {"softcap_gradient", check, nullptr, run, false};

}  // namespace mbok
