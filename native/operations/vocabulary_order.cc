// Logits of a table with two classes of rows, in the order of the tokens: y[r,t] = a[r,i] if the row of token t is dense
// row i of the table (table.h), else b[r,j], its row of kernels j.
//   a [R,F], b [R,V−F], marks bits [1,V] → y [R,V]
#include "operations/table.h"

namespace mbok {
namespace {

constexpr int64_t kTokens = 8192;  // per task, a multiple of 64

void check(const Call& call) {
  expect_counts(call, 3, 1, 0);
  const Tensor &a = call.input(0), &b = call.input(1);
  expect_tensor(call, a, "a", TensorType::kF32, a.rows, a.cols);
  expect_tensor(call, b, "b", TensorType::kF32, a.rows, b.cols);
  expect_tensor(call, call.input(2), "marks", TensorType::kBits, 1, a.cols + b.cols);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, a.rows, a.cols + b.cols);
}

void run(const Call& call) {
  const Tensor &a = call.input(0), &b = call.input(1), &y = call.output(0);
  const uint64_t* const marks = call.input(2).bits();
  const TokenRows tokens(marks, y.cols, a.cols);
  const int64_t across = (y.cols + kTokens - 1) / kTokens;
  call.pool->parallel_for(y.rows * across, [&](int64_t task, int) {
    const int64_t r = task / across, first = task % across * kTokens;
    const int64_t end = first + kTokens < y.cols ? first + kTokens : y.cols;
    const int64_t dense = tokens.marked_before(first);
    const float* from_a = a.f32() + r * a.cols + dense;
    const float* from_b = b.f32() + r * b.cols + first - dense;
    float* const to = y.f32() + r * y.cols;
    for (int64_t t = first; t < end; ++t) to[t] = (marks[t / 64] >> t % 64 & 1) != 0 ? *from_a++ : *from_b++;
  });
}

}  // namespace

extern const Operation vocabulary_order_operation;
const Operation vocabulary_order_operation = {"vocabulary_order", check, nullptr, run, false};

}  // namespace mbok
