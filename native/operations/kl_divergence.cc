// loss = mean over rows of KL(softmax(teacher) ‖ softmax(student)).
#include "kernels/kl_divergence/kl_divergence.h"

#include "operations/rows.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 2, 1, 0);
  const Tensor& student = call.input(0);
  expect(call, student.cols >= 1, "'student' must have a column");
  expect_tensor(call, student, "student", TensorType::kF32, student.rows, student.cols);
  expect_tensor(call, call.input(1), "teacher", TensorType::kF32, student.rows, student.cols);
  expect_tensor(call, call.output(0), "loss", TensorType::kF32, 1, 1);
}

size_t scratch_bytes(const Call& call, int) { return static_cast<size_t>(call.input(0).rows) * sizeof(double); }

void run(const Call& call) {
  const Tensor& student = call.input(0);
  const float* teacher = call.input(1).f32();
  const int64_t cols = student.cols;
  double* values = reinterpret_cast<double*>(call.scratch);
  for_row_tasks(*call.pool, split_rows(student.rows, cols), [&](int64_t first, int64_t count) {
    for (int64_t r = first; r < first + count; ++r)
      values[r] = kl_divergence_table.best()(student.f32() + r * cols, teacher + r * cols, cols).value;
  });
  double sum = 0;
  for (int64_t r = 0; r < student.rows; ++r) sum += values[r];
  call.output(0).f32()[0] = static_cast<float>(sum / static_cast<double>(student.rows));
}

}  // namespace

extern const Operation kl_divergence_operation;
const Operation kl_divergence_operation = {"kl_divergence", check, scratch_bytes, run, false};

}  // namespace mbok
