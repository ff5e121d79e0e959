// ds = dy·(1 − tanh²(α·(s − τ))) with α = π / (2√(3·fanIn)) (BOLD). dy, s [R,n] → ds [R,n]; attributes: τ, fanIn.
#include <cmath>

#include "kernels/boolean_activation/boolean_activation.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr int64_t kChunk = 8192;  // elements per task
constexpr double kPi = 3.14159265358979323846;

void check(const Call& call) {
  expect_counts(call, 2, 1, 2);
  const Tensor& s = call.input(1);
  expect_tensor(call, call.input(0), "dy", TensorType::kF32, s.rows, s.cols);
  expect_tensor(call, s, "s", TensorType::kF32, s.rows, s.cols);
  expect_tensor(call, call.output(0), "ds", TensorType::kF32, s.rows, s.cols);
  expect(call, call.attribute(1) >= 1, "the fan-in must be at least 1");
}

void run(const Call& call) {
  const float threshold = static_cast<float>(call.attribute(0));
  const float alpha = static_cast<float>(kPi / (2 * std::sqrt(3 * call.attribute(1))));
  const float *dy = call.input(0).f32(), *s = call.input(1).f32();
  float* const ds = call.output(0).f32();
  const int64_t size = call.input(1).size();
  call.pool->parallel_for((size + kChunk - 1) / kChunk, [=](int64_t task, int) {
    const int64_t at = task * kChunk, count = size - at < kChunk ? size - at : kChunk;
    boolean_activation_gradient_table.best()(dy + at, s + at, threshold, alpha, ds + at, count);
  });
}

}  // namespace

extern const Operation boolean_activation_gradient_operation;
const Operation boolean_activation_gradient_operation = {"boolean_activation_gradient", check, nullptr, run, false};

}  // namespace mbok
