// Kernel `index` of kernels[K·m, n] ← latent[m, n] ≥ 0: the forward pass of latent weights with a straight-through
// estimator. Attribute: index.
#include "kernels/boolean_activation/boolean_activation.h"
#include "operations/rows.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 1, 1, 1);
  const Tensor &latent = call.input(0), &kernels = call.output(0);
  expect_tensor(call, latent, "latent", TensorType::kF32, latent.rows, latent.cols);
  expect_tensor(call, kernels, "kernels", TensorType::kBits, kernels.rows, latent.cols);
  expect(call, call.integer(0) >= 0 && (call.integer(0) + 1) * latent.rows <= kernels.rows,
         "'index' must name one of the kernels");
}

void run(const Call& call) {
  const Tensor &latent = call.input(0), &kernels = call.output(0);
  uint64_t* const bits = kernels.bits() + call.integer(0) * latent.rows * kernels.words();
  for_row_tasks(*call.pool, split_rows(latent.rows, latent.cols), [&](int64_t first, int64_t count) {
    for (int64_t i = first; i < first + count; ++i)
      boolean_activation_table.best()(latent.f32() + i * latent.cols, 0.0f, bits + i * kernels.words(), latent.cols);
  });
}

}  // namespace

extern const Operation signs_operation;
const Operation signs_operation = {"signs", check, nullptr, run, true};

}  // namespace mbok
