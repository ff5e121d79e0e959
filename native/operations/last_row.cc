// y = the last row of x, the only one whose logits the next token needs.
#include <cstring>

#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 1, 1, 0);
  const Tensor& x = call.input(0);
  expect(call, x.rows >= 1, "'x' must have a row");
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, 1, x.cols);
}

void run(const Call& call) {
  const Tensor& x = call.input(0);
  std::memcpy(call.output(0).data, x.f32() + (x.rows - 1) * x.cols, static_cast<size_t>(x.cols) * sizeof(float));
}

}  // namespace

extern const Operation last_row_operation;
const Operation last_row_operation = {"last_row", check, nullptr, run, false};

}  // namespace mbok
