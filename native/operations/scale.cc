// y = factor·x. y may be x. Attribute: factor.
#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr int64_t kChunk = 16384;  // elements per task

void check(const Call& call) {
  expect_counts(call, 1, 1, 1);
  const Tensor& x = call.input(0);
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, x.rows, x.cols);
}

void run(const Call& call) {
  const float factor = static_cast<float>(call.attribute(0));
  const float* x = call.input(0).f32();
  float* y = call.output(0).f32();
  const int64_t size = call.input(0).size();
  call.pool->parallel_for((size + kChunk - 1) / kChunk, [=](int64_t task, int) {
    const int64_t end = task * kChunk + kChunk < size ? task * kChunk + kChunk : size;
    for (int64_t i = task * kChunk; i < end; ++i) y[i] = factor * x[i];
  });
}

}  // namespace

extern const Operation scale_operation;
const Operation scale_operation = {"scale", check, nullptr, run, false};

}  // namespace mbok
