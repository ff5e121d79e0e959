// Quantizes weights to 8 bits with one scale per row (kernels/int8); error = ‖W − Ŵ‖ / ‖W‖.
//   w [m,n] (any type of weights.h), its scales? [m,1] → q i8 [m,n], scales [m,1], error [1,1]
#include <cmath>

#include "operations/rows.h"
#include "operations/scratch.h"
#include "operations/weights.h"

namespace mbok {
namespace {

struct Work {
  double *norms, *errors;  // [m]
  float* rows;             // [threads, n]
  size_t bytes;
};

Work plan_work(const Tensor& w, int threads, std::byte* base) {
  Scratch scratch(base);
  Work work = {};
  work.norms = scratch.take<double>(w.rows);
  work.errors = scratch.take<double>(w.rows);
  work.rows = scratch.take<float>(w.cols * threads);
  work.bytes = scratch.used();
  return work;
}

void check(const Call& call) {
  expect_counts_between(call, 1, 2, 3, 3, 0);
  const Tensor& w = call.input(0);
  expect_weights(call, 0, 1, "w");
  expect_tensor(call, call.output(0), "q", TensorType::kI8, w.rows, w.cols);
  expect_tensor(call, call.output(1), "scales", TensorType::kF32, w.rows, 1);
  expect_tensor(call, call.output(2), "error", TensorType::kF32, 1, 1);
}

size_t scratch_bytes(const Call& call, int threads) { return plan_work(call.input(0), threads, nullptr).bytes; }

void run(const Call& call) {
  const Weights w(call, 0, 1);
  const int64_t cols = w.cols();
  const Work work = plan_work(call.input(0), call.pool->threads(), call.scratch);
  Int8QuantizeFunction* const quantize = int8_quantize_table.best();
  const RowSplit split = split_rows(w.rows(), cols);
  call.pool->parallel_for(split.tasks(), [&](int64_t task, int worker) {
    float* const row = work.rows + worker * cols;
    for (int64_t r = split.first(task); r < split.first(task) + split.count(task); ++r) {
      w.widen(r, 0, cols, row);
      const Int8Row result = quantize(row, call.output(0).i8() + r * cols, cols);
      call.output(1).f32()[r] = result.scale;
      work.norms[r] = result.norm;
      work.errors[r] = result.error;
    }
  });
  double norm = 0, error = 0;
  for (int64_t r = 0; r < w.rows(); ++r) {
    norm += work.norms[r];
    error += work.errors[r];
  }
  if (!std::isfinite(norm) || !std::isfinite(error))
    throw Error("MBOK_NON_FINITE", "the weights hold a number that is not finite");
  call.output(2).f32()[0] = norm > 0 ? static_cast<float>(std::sqrt(error / norm)) : 0.0f;
}

}  // namespace

extern const Operation quantize_int8_operation;
const Operation quantize_int8_operation = {"quantize_int8", check, scratch_bytes, run, false};

}  // namespace mbok
