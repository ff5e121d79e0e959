// Throws MBOK_NON_FINITE unless x is finite. Plans place it before the first operation that updates state, so that a
// diverged loss leaves the model unchanged.
#include <cmath>
#include <string>

#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 1, 0, 0);
  expect_tensor(call, call.input(0), "x", TensorType::kF32, 1, 1);
}

void run(const Call& call) {
  const float x = *call.input(0).f32();
  if (!std::isfinite(x)) throw Error("MBOK_NON_FINITE", "a number that must be finite is " + std::to_string(x));
}

}  // namespace

extern const Operation require_finite_operation;
const Operation require_finite_operation = {"require_finite", check, nullptr, run, false};

}  // namespace mbok
