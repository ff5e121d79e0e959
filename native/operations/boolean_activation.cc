// bits = (s ≥ τ). s [R,n] → bits [R,n]; attributes: τ and the fan-in, which only the gradient reads.
#include "kernels/boolean_activation/boolean_activation.h"

#include "operations/rows.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 1, 1, 2);
  const Tensor& s = call.input(0);
  expect_tensor(call, s, "s", TensorType::kF32, s.rows, s.cols);
  expect_tensor(call, call.output(0), "bits", TensorType::kBits, s.rows, s.cols);
}

void run(const Call& call) {
  const Tensor &s = call.input(0), &bits = call.output(0);
  const float threshold = static_cast<float>(call.attribute(0));
  for_row_tasks(*call.pool, split_rows(s.rows, s.cols), [&](int64_t first, int64_t count) {
    for (int64_t i = first; i < first + count; ++i)
      boolean_activation_table.best()(s.f32() + i * s.cols, threshold, bits.bits() + i * bits.words(), s.cols);
  });
}

}  // namespace

extern const Operation boolean_activation_operation;
const Operation boolean_activation_operation = {"boolean_activation", check, nullptr, run, false};

}  // namespace mbok
