// What the hidden-state loss and its gradient must agree on.
#pragma once

#include "runtime/operation.h"

namespace mbok {

// Added to ‖t‖² in the relative loss: rows of zeros (padding) must not divide by zero.
constexpr double kHiddenLossFloor = 1e-6;

}  // namespace mbok
