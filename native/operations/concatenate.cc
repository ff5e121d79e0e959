// y = x₀, x₁, … side by side: xᵢ [R, nᵢ] → y [R, n₀ + n₁ + …].
#include "operations/column_runs.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts_between(call, 1, call.input_count, 1, 1, 0);
  expect_parts(call, call.output(0), call.inputs, call.input_count);
}

void run(const Call& call) {
  for_column_runs(call, call.output(0), call.inputs, call.input_count, [](float* whole, float* part, int64_t cols) {
    std::memmove(whole, part, static_cast<size_t>(cols) * sizeof(float));
  });
}

}  // namespace

extern const Operation concatenate_operation;
const Operation concatenate_operation = {"concatenate", check, nullptr, run, false};

}  // namespace mbok
