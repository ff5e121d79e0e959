// The ±1 kernels of one layer with their scales: Ŵ = Σₖ diag(s_out[k])·B[k]·diag(s_in[k]).
#pragma once

#include <cstdint>

#include "runtime/operation.h"

namespace mbok {

struct BooleanLayer {
  int64_t kernels, m, n;
  uint64_t* bits;      // [K·m, n]: kernel k's row i is row k·m + i
  const float* s_out;  // [K, m]; null: all ones
  const float* s_in;   // [K, n]; null: all ones

  int64_t words() const { return words_per_row(n); }
  uint64_t* row(int64_t kernel, int64_t i) const { return bits + (kernel * m + i) * words(); }
};

// The tensors `first`, first + 1, first + 2 of the call's inputs: kernels, s_out, s_in.
inline BooleanLayer boolean_layer(const Call& call, int first) {
  const Tensor &s_out = call.input(first + 1), &s_in = call.input(first + 2);
  return {s_out.rows, s_out.cols, s_in.cols, call.input(first).bits(), s_out.f32(), s_in.f32()};
}

// Checks them and returns the layer.
inline BooleanLayer expect_boolean_layer(const Call& call, int first) {
  const BooleanLayer w = boolean_layer(call, first);
  expect(call, w.kernels >= 1, "needs at least one kernel");
  expect_tensor(call, call.input(first), "kernels", TensorType::kBits, w.kernels * w.m, w.n);
  expect_tensor(call, call.input(first + 1), "s_out", TensorType::kF32, w.kernels, w.m);
  expect_tensor(call, call.input(first + 2), "s_in", TensorType::kF32, w.kernels, w.n);
  return w;
}

}  // namespace mbok
