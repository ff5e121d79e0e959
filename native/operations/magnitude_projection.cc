// Z = sign(S) ⊙ u vᵀ with S = X + U, u vᵀ the rank-1 approximation of |S| after two rounds of power iteration from v;
// then U ← S − Z. u has length 1, v holds the size and starts the next projection.
//
// inputs x [m, n]; in place dual u [m, n], column scales v [1, n]; outputs z [m, n], row scales [1, m]
#include <algorithm>
#include <cmath>

#include "kernels/svid/svid.h"
#include "operations/rows.h"
#include "operations/scratch.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr int kRounds = 2;
constexpr int64_t kMinRows = 16, kMaxTasks = 32;

void check(const Call& call) {
  expect_counts(call, 1, 4, 0);
  const Tensor& x = call.input(0);
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, call.output(0), "dual", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, call.output(1), "column scales", TensorType::kF32, 1, x.cols);
  expect_tensor(call, call.output(2), "z", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, call.output(3), "row scales", TensorType::kF32, 1, x.rows);
}

RowSplit split(int64_t m) { return {m, std::max(kMinRows, (m + kMaxTasks - 1) / kMaxTasks)}; }

struct Parts {
  Parts(int64_t m, int64_t n, Scratch& scratch)
      : u(scratch.take<double>(m)), v(scratch.take<double>(n)), sums(scratch.take<double>(split(m).tasks() * n)) {}

  double *u, *v, *sums;
};

size_t scratch_bytes(const Call& call, int) {
  Scratch scratch(nullptr);
  const Parts parts(call.input(0).rows, call.input(0).cols, scratch);
  return scratch.used();
}

double length(const double* values, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += values[i] * values[i];
  return std::sqrt(sum);
}

double inverse_or_zero(double x) { return x > 0 ? 1 / x : 0; }

void run(const Call& call) {
  const int64_t m = call.input(0).rows, n = call.input(0).cols;
  ThreadPool& pool = *call.pool;
  Scratch scratch(call.scratch);
  const Parts parts(m, n, scratch);
  double *const u = parts.u, *const v = parts.v, *const sums = parts.sums;
  const float* const x = call.input(0).f32();
  float *const dual = call.output(0).f32(), *const columns = call.output(1).f32();
  float *const z = call.output(2).f32(), *const rows = call.output(3).f32();
  const RowSplit tasks = split(m);
  for_row_tasks(pool, tasks, [=](int64_t first, int64_t count) {
    for (int64_t i = first * n; i < (first + count) * n; ++i) dual[i] += x[i];
  });
  std::copy(columns, columns + n, v);
  for (int round = 0; round < kRounds; ++round) {
    const double scale = inverse_or_zero(length(v, n));
    for (int64_t j = 0; j < n; ++j) v[j] *= scale;
    pool.parallel_for(tasks.tasks(), [=](int64_t task, int) {
      const int64_t first = tasks.first(task);
      magnitude_step_table.best()(dual + first * n, tasks.count(task), n, v, u + first, sums + task * n);
    });
    // |S|ᵀ u / ‖u‖
    const double inverse = inverse_or_zero(length(u, m));
    std::fill(v, v + n, 0.0);
    for (int64_t task = 0; task < tasks.tasks(); ++task)
      for (int64_t j = 0; j < n; ++j) v[j] += sums[task * n + j];
    for (int64_t j = 0; j < n; ++j) v[j] *= inverse;
    for (int64_t i = 0; i < m; ++i) rows[i] = static_cast<float>(u[i] * inverse);
  }
  for (int64_t j = 0; j < n; ++j) columns[j] = static_cast<float>(v[j]);
  for_row_tasks(pool, tasks, [=](int64_t first, int64_t count) {
    for (int64_t row = first; row < first + count; ++row)
      for (int64_t j = 0; j < n; ++j) {
        const int64_t i = row * n + j;
        const float size = rows[row] * columns[j];
        z[i] = dual[i] >= 0 ? size : -size;
        dual[i] -= z[i];
      }
  });
}

}  // namespace

extern const Operation magnitude_projection_operation;
const Operation magnitude_projection_operation = {"magnitude_projection", check, scratch_bytes, run, false};

}  // namespace mbok
