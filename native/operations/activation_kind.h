// Reads the attribute that names an activation function.
#pragma once

#include "kernels/activation/activation.h"
#include "runtime/operation.h"

namespace mbok {

inline void expect_activation_kind(const Call& call, int attribute) {
  const int64_t kind = call.integer(attribute);
  expect(call, kind >= 0 && kind < kActivationKinds, "unknown activation function");
}

inline ActivationKind activation_kind(const Call& call, int attribute) {
  return static_cast<ActivationKind>(call.integer(attribute));
}

}  // namespace mbok
