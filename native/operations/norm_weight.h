// Common to the RMS norms.
#pragma once

#include "runtime/operation.h"

namespace mbok {

// Checks w [1, n] against x, whose columns are groups of n.
inline void expect_norm_weight(const Call& call, const Tensor& x, const Tensor& w) {
  expect(call, w.cols > 0 && x.cols % w.cols == 0, "the weight's columns must divide the row");
  expect_tensor(call, w, "w", TensorType::kF32, 1, w.cols);
}

}  // namespace mbok
