// dstudent = dloss / rows · (softmax(student) − softmax(teacher)). dstudent may be student.
#include "kernels/kl_divergence/kl_divergence.h"
#include "operations/rows.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 3, 1, 0);
  const Tensor& student = call.input(0);
  expect(call, student.cols >= 1, "'student' must have a column");
  expect_tensor(call, student, "student", TensorType::kF32, student.rows, student.cols);
  expect_tensor(call, call.input(1), "teacher", TensorType::kF32, student.rows, student.cols);
  expect_tensor(call, call.input(2), "dloss", TensorType::kF32, 1, 1);
  expect_tensor(call, call.output(0), "dstudent", TensorType::kF32, student.rows, student.cols);
}

void run(const Call& call) {
  const Tensor& student = call.input(0);
  const float* teacher = call.input(1).f32();
  const int64_t cols = student.cols;
  const float factor = call.input(2).f32()[0] / static_cast<float>(student.rows);
  for_row_tasks(*call.pool, split_rows(student.rows, cols), [&](int64_t first, int64_t count) {
    for (int64_t at = first * cols; at < (first + count) * cols; at += cols) {
      const float *const s = student.f32() + at, *const t = teacher + at;
      const Divergence of = kl_divergence_table.best()(s, t, cols);
      kl_divergence_gradient_table.best()(s, t, cols, of, factor, call.output(0).f32() + at);
    }
  });
}

}  // namespace

extern const Operation kl_divergence_gradient_operation;
const Operation kl_divergence_gradient_operation = {"kl_divergence_gradient", check, nullptr, run, false};

}  // namespace mbok
