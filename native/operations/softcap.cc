// y = cap · tanh(x / cap). y may be x. Attribute: cap.
#include "kernels/softcap/softcap.h"

#include "operations/elements.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 1, 1, 1);
  const Tensor& x = call.input(0);
  expect(call, call.attribute(0) > 0, "the cap must be positive");
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, x.rows, x.cols);
}

void run(const Call& call) {
  const float cap = static_cast<float>(call.attribute(0));
  const float* x = call.input(0).f32();
  float* y = call.output(0).f32();
  for_element_tasks(*call.pool, call.input(0).size(),
                    [=](int64_t first, int64_t count) { softcap_table.best()(cap, x + first, y + first, count); });
}

}  // namespace

extern const Operation softcap_operation;
const Operation softcap_operation = {"softcap", check, nullptr, run, false};

}  // namespace mbok
