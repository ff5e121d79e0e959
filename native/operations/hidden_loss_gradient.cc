// dh of hidden_loss. dh may be h.
#include "operations/hidden_loss_kind.h"
#include "operations/rows.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 3, 1, 1);
  const Tensor& h = call.input(0);
  expect_tensor(call, h, "h", TensorType::kF32, h.rows, h.cols);
  expect_tensor(call, call.input(1), "t", TensorType::kF32, h.rows, h.cols);
  expect_tensor(call, call.input(2), "dloss", TensorType::kF32, 1, 1);
  expect_tensor(call, call.output(0), "dh", TensorType::kF32, h.rows, h.cols);
  expect_hidden_loss_kind(call, 0);
}

void run(const Call& call) {
  const Tensor& h = call.input(0);
  const float* t = call.input(1).f32();
  const int64_t cols = h.cols;
  const HiddenLossKind kind = hidden_loss_kind(call, 0);
  const double share = 2.0 * call.input(2).f32()[0] / static_cast<double>(h.rows);
  for_row_tasks(*call.pool, split_rows(h.rows, cols), [&](int64_t first, int64_t count) {
    for (int64_t at = first * cols; at < (first + count) * cols; at += cols) {
      const HiddenDistance row = hidden_distance_table.best()(h.f32() + at, t + at, cols);
      const double divisor = hidden_loss_divisor(kind, row, cols);
      hidden_loss_gradient_table.best()(h.f32() + at, t + at, cols, static_cast<float>(share / divisor),
                                        call.output(0).f32() + at);
    }
  });
}

}  // namespace

extern const Operation hidden_loss_gradient_operation;
const Operation hidden_loss_gradient_operation = {"hidden_loss_gradient", check, nullptr, run, false};

}  // namespace mbok
