// y = Σ wᵢ·xᵢ of single numbers: the total loss. Attributes: w₀, w₁, …, one per input.
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts_between(call, 1, call.input_count, 1, 1, call.input_count);
  for (int i = 0; i < call.input_count; ++i) expect_tensor(call, call.input(i), "x", TensorType::kF32, 1, 1);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, 1, 1);
}

void run(const Call& call) {
  double sum = 0;
  for (int i = 0; i < call.input_count; ++i) sum += call.attribute(i) * static_cast<double>(*call.input(i).f32());
  *call.output(0).f32() = static_cast<float>(sum);
}

}  // namespace

extern const Operation weighted_sum_operation;
const Operation weighted_sum_operation = {"weighted_sum", check, nullptr, run, false};

}  // namespace mbok
