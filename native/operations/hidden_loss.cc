// loss = mean over rows of the distance of hidden states h from the teacher's t. Attribute: kind (hidden_loss_kind.h).
#include "operations/hidden_loss_kind.h"
#include "operations/rows.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 2, 1, 1);
  const Tensor& h = call.input(0);
  expect_tensor(call, h, "h", TensorType::kF32, h.rows, h.cols);
  expect_tensor(call, call.input(1), "t", TensorType::kF32, h.rows, h.cols);
  expect_tensor(call, call.output(0), "loss", TensorType::kF32, 1, 1);
  expect_hidden_loss_kind(call, 0);
}

size_t scratch_bytes(const Call& call, int) { return static_cast<size_t>(call.input(0).rows) * sizeof(double); }

void run(const Call& call) {
  const Tensor& h = call.input(0);
  const float* t = call.input(1).f32();
  const int64_t cols = h.cols;
  const HiddenLossKind kind = hidden_loss_kind(call, 0);
  double* values = reinterpret_cast<double*>(call.scratch);
  for_row_tasks(*call.pool, split_rows(h.rows, cols), [&](int64_t first, int64_t count) {
    for (int64_t r = first; r < first + count; ++r) {
      const HiddenDistance d = hidden_distance_table.best()(h.f32() + r * cols, t + r * cols, cols);
      values[r] = hidden_loss_value(kind, d, cols);
    }
  });
  double sum = 0;
  for (int64_t r = 0; r < h.rows; ++r) sum += values[r];
  call.output(0).f32()[0] = static_cast<float>(sum / static_cast<double>(h.rows));
}

}  // namespace

extern const Operation hidden_loss_operation;
const Operation hidden_loss_operation = {"hidden_loss", check, scratch_bytes, run, false};

}  // namespace mbok
