// Weights in f32, for what needs a whole matrix in it (a conversion to kernels, latent weights).
//   w [m,n] (any type of weights.h), scales? [m,1] → y [m,n]
#include "operations/rows.h"
#include "operations/weights.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts_between(call, 1, 2, 1, 1, 0);
  const Tensor& w = call.input(0);
  expect_weights(call, 0, 1, "w");
  expect_tensor(call, call.output(0), "y", TensorType::kF32, w.rows, w.cols);
}

void run(const Call& call) {
  const Weights w(call, 0, 1);
  for_row_tasks(*call.pool, split_rows(w.rows(), w.cols()), [&](int64_t first, int64_t count) {
    for (int64_t r = first; r < first + count; ++r) w.widen(r, 0, w.cols(), call.output(0).f32() + r * w.cols());
  });
}

}  // namespace

extern const Operation widen_operation;
const Operation widen_operation = {"widen", check, nullptr, run, false};

}  // namespace mbok
