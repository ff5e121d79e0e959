// db += Σ_r dy[r, ·].
//   dy [R,m] → += db [1,m]
#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr int64_t kCols = 64;  // per task: whole cache lines
constexpr int64_t kRows = 64;  // summed separately first, which bounds the rounding error of long sums

void check(const Call& call) {
  expect_counts(call, 1, 1, 0);
  const Tensor& dy = call.input(0);
  expect_tensor(call, dy, "dy", TensorType::kF32, dy.rows, dy.cols);
  expect_tensor(call, call.output(0), "db", TensorType::kF32, 1, dy.cols);
}

void run(const Call& call) {
  const Tensor& dy = call.input(0);
  float* db = call.output(0).f32();
  const int64_t rows = dy.rows, cols = dy.cols;
  const float* data = dy.f32();
  call.pool->parallel_for((cols + kCols - 1) / kCols, [=](int64_t task, int) {
    const int64_t begin = task * kCols, width = begin + kCols < cols ? kCols : cols - begin;
    for (int64_t row = 0; row < rows; row += kRows) {
      const int64_t end = row + kRows < rows ? row + kRows : rows;
      float sum[kCols] = {};
      for (int64_t r = row; r < end; ++r)
        for (int64_t c = 0; c < width; ++c) sum[c] += data[r * cols + begin + c];
      for (int64_t c = 0; c < width; ++c) db[begin + c] += sum[c];
    }
  });
}

}  // namespace

extern const Operation bias_gradient_operation;
const Operation bias_gradient_operation = {"bias_gradient", check, nullptr, run, false};

}  // namespace mbok
