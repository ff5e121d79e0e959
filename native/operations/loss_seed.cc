// y = the run's loss scale, 1 / micro-batches: the gradient that the backward pass starts from.
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 0, 1, 0);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, 1, 1);
}

void run(const Call& call) { *call.output(0).f32() = static_cast<float>(call.scalars->loss_scale); }

}  // namespace

extern const Operation loss_seed_operation;
const Operation loss_seed_operation = {"loss_seed", check, nullptr, run, false};

}  // namespace mbok
