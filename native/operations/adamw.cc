// One AdamW step that updates p, m and v in place. Attributes: β₁, β₂, eps, decay, clip. clip > 0 scales g by
// min(1, clip / (norm + 1e-6)), where norm is the gradient norm of all parameters. Scalars: learning rate, step.
#include "kernels/adamw/adamw.h"

#include <cmath>

#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr int64_t kChunk = 8192;  // elements per task

void check(const Call& call) {
  expect_counts_between(call, 1, 2, 3, 3, 5);
  const Tensor& g = call.input(0);
  expect_tensor(call, g, "g", TensorType::kF32, g.rows, g.cols);
  if (call.has_input(1)) expect_tensor(call, call.input(1), "norm", TensorType::kF32, 1, 1);
  expect(call, call.attribute(4) == 0 || call.has_input(1), "clipping needs the norm");
  const char* const names[3] = {"p", "m", "v"};
  for (int i = 0; i < 3; ++i) expect_tensor(call, call.output(i), names[i], TensorType::kF32, g.rows, g.cols);
}

AdamwStep step_of(const Call& call) {
  const double beta1 = call.attribute(0), beta2 = call.attribute(1), clip = call.attribute(4);
  const double rate = call.scalars->learning_rate, t = call.scalars->step;
  AdamwStep s;
  s.scale = 1;
  if (clip > 0) {
    const double scale = clip / (static_cast<double>(*call.input(1).f32()) + 1e-6);
    if (scale < 1) s.scale = static_cast<float>(scale);
  }
  s.keep = static_cast<float>(1 - rate * call.attribute(3));
  s.beta1 = static_cast<float>(beta1);
  s.beta2 = static_cast<float>(beta2);
  s.one_minus_beta1 = static_cast<float>(1 - beta1);
  s.one_minus_beta2 = static_cast<float>(1 - beta2);
  s.rate = static_cast<float>(rate / (1 - std::pow(beta1, t)));
  s.root = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, t)));
  s.eps = static_cast<float>(call.attribute(2));
  return s;
}

void run(const Call& call) {
  const AdamwStep step = step_of(call);
  const float* g = call.input(0).f32();
  float *p = call.output(0).f32(), *m = call.output(1).f32(), *v = call.output(2).f32();
  const int64_t size = call.input(0).size();
  call.pool->parallel_for((size + kChunk - 1) / kChunk, [&](int64_t task, int) {
    const int64_t at = task * kChunk, count = size - at < kChunk ? size - at : kChunk;
    adamw_table.best()(g + at, p + at, m + at, v + at, count, step);
  });
}

}  // namespace

extern const Operation adamw_operation;
const Operation adamw_operation = {"adamw", check, nullptr, run, true};

}  // namespace mbok
