// norm = √Σ‖gᵢ‖² over all inputs, summed in f64, for clipping by the global norm.
#include <cmath>

#include "runtime/memory.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr int64_t kChunk = 16384;  // elements per task
constexpr int kLanes = 8;          // independent sums, to hide the latency of an addition

int64_t chunks(const Tensor& g) { return (g.size() + kChunk - 1) / kChunk; }

void check(const Call& call) {
  expect_counts_between(call, 1, call.input_count, 1, 1, 0);
  for (int i = 0; i < call.input_count; ++i) {
    const Tensor& g = call.input(i);
    expect_tensor(call, g, "g", TensorType::kF32, g.rows, g.cols);
  }
  expect_tensor(call, call.output(0), "norm", TensorType::kF32, 1, 1);
}

size_t scratch_bytes(const Call& call, int) {
  int64_t most = 0;
  for (int i = 0; i < call.input_count; ++i) most = chunks(call.input(i)) > most ? chunks(call.input(i)) : most;
  return static_cast<size_t>(most) * sizeof(double);
}

double sum_of_squares(const float* g, int64_t count) {
  double sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) {
      const double x = g[i + lane];
      sums[lane] += x * x;
    }
  for (; i < count; ++i) sums[0] += static_cast<double>(g[i]) * g[i];
  double sum = 0;
  for (const double s : sums) sum += s;
  return sum;
}

void run(const Call& call) {
  auto* const partials = reinterpret_cast<double*>(call.scratch);
  double total = 0;
  for (int i = 0; i < call.input_count; ++i) {
    const Tensor& g = call.input(i);
    const float* const data = g.f32();
    const int64_t size = g.size(), tasks = chunks(g);
    call.pool->parallel_for(tasks, [=](int64_t task, int) {
      const int64_t at = task * kChunk;
      partials[task] = sum_of_squares(data + at, size - at < kChunk ? size - at : kChunk);
    });
    for (int64_t t = 0; t < tasks; ++t) total += partials[t];
  }
  *call.output(0).f32() = static_cast<float>(std::sqrt(total));
}

}  // namespace

extern const Operation gradient_norm_operation;
const Operation gradient_norm_operation = {"gradient_norm", check, scratch_bytes, run, false};

}  // namespace mbok
