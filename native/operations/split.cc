// y₀, y₁, … = runs of columns of x, in order: x [R, n₀ + n₁ + …] → yᵢ [R, nᵢ].
#include "operations/column_runs.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts_between(call, 1, 1, 1, call.output_count, 0);
  expect_parts(call, call.input(0), call.outputs, call.output_count);
}

void run(const Call& call) {
  for_column_runs(call, call.input(0), call.outputs, call.output_count, [](float* whole, float* part, int64_t cols) {
    std::memmove(part, whole, static_cast<size_t>(cols) * sizeof(float));
  });
}

}  // namespace

extern const Operation split_operation;
const Operation split_operation = {"split", check, nullptr, run, false};

}  // namespace mbok
