// Common to operations that fit signs or scales under the second moments H of the inputs: inputs target [m, n], h [n,
// n] symmetric, kernels bits [K·m, n] and a fourth with K rows of scales.
#pragma once

#include "kernels/refit/refit.h"
#include "operations/product.h"

namespace mbok {

constexpr int64_t kCalibratedRows = 256;  // rows of W per product with H: amortizes packing H

// Checks the first three inputs.
inline void expect_calibrated_signs(const Call& call) {
  const int64_t m = call.input(0).rows, n = call.input(0).cols, kernels = call.input(3).rows;
  expect_tensor(call, call.input(0), "target", TensorType::kF32, m, n);
  expect_tensor(call, call.input(1), "h", TensorType::kF32, n, n);
  expect(call, kernels >= 1 && kernels <= kMaxRefitKernels, "there must be 1 to 8 kernels");
  expect_tensor(call, call.input(2), "kernels", TensorType::kBits, kernels * m, n);
}

// The shape of X·H for `rows` rows of X.
inline ProductShape times_h(int64_t rows, int64_t n) { return {rows, n, n, n, n, n, false, false, false}; }

}  // namespace mbok
