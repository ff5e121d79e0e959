// y = a + b. y may be a.
#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr int64_t kChunk = 16384;  // elements per task: 64 KiB of each operand

void check(const Call& call) {
  expect_counts(call, 2, 1, 0);
  const Tensor& a = call.input(0);
  expect_tensor(call, a, "a", TensorType::kF32, a.rows, a.cols);
  expect_tensor(call, call.input(1), "b", TensorType::kF32, a.rows, a.cols);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, a.rows, a.cols);
}

void run(const Call& call) {
  const float* a = call.input(0).f32();
  const float* b = call.input(1).f32();
  float* y = call.output(0).f32();
  const int64_t size = call.output(0).size();
  call.pool->parallel_for((size + kChunk - 1) / kChunk, [=](int64_t task, int) {
    const int64_t end = task * kChunk + kChunk < size ? task * kChunk + kChunk : size;
    for (int64_t i = task * kChunk; i < end; ++i) y[i] = a[i] + b[i];
  });
}

}  // namespace

extern const Operation add_operation;
const Operation add_operation = {"add", check, nullptr, run, false};

}  // namespace mbok
