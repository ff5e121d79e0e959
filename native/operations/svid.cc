// Successive SVID extraction (arXiv 2505.22811, section 4): for k = 0 … K−1, with R = W − Σ_{l<k} Ŵ_l,
//   B[k] = sign(R),  |R| ≈ σ u vᵀ its best rank-1 approximation,  s_out[k] = √σ u,  s_in[k] = √σ v,
// and residual[k] = ‖W − Σ_{l≤k} Ŵ_l‖ / ‖W‖ (0 for W = 0).
//
// Power iteration on |R|ᵀ|R| from v = 1 runs until v moves by less than kTolerance, at most `iterations` rounds.
// u, v ≥ 0 because |R| ≥ 0 (Perron–Frobenius). Rows are split into at most kMaxTasks tasks of at least kMinRows, whose
// partial sums are added in task order.
//
// inputs w [m, n]; outputs kernels bits [K·m, n], s_out [K, m], s_in [K, n], residual [1, K]; attribute iterations
#include <algorithm>
#include <cmath>

#include "kernels/dot/dot.h"
#include "kernels/svid/svid.h"
#include "runtime/memory.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr int64_t kMinRows = 16;
constexpr int64_t kMaxTasks = 32;
constexpr int64_t kColumns = 256;  // per task of the reduction of partial sums
// Limit of ‖v − previous v‖, with ‖v‖ = 1. The remaining error is at most this times ρ / (1 − ρ), where ρ = (σ₂ / σ₁)²
// < 0.9 for the residuals of real weights: about 1e-6.
constexpr double kTolerance = 1e-7;

struct Layout {
  int64_t rows_per_task, tasks;
  size_t v, u, sums, squares, residual, bytes;  // offsets into scratch

  Layout(int64_t m, int64_t n) {
    rows_per_task = std::max(kMinRows, (m + kMaxTasks - 1) / kMaxTasks);
    tasks = (m + rows_per_task - 1) / rows_per_task;
    size_t at = 0;
    const auto place = [&at](int64_t count, size_t size) {
      const size_t offset = at;
      at = align_up(at + static_cast<size_t>(count) * size);
      return offset;
    };
    v = place(n, sizeof(double));
    u = place(m, sizeof(double));
    sums = place(tasks * n, sizeof(double));
    squares = place(tasks, sizeof(double));
    residual = place(m * n, sizeof(float));
    bytes = at;
  }
};

void check(const Call& call) {
  expect_counts(call, 1, 4, 1);
  const Tensor& w = call.input(0);
  expect_tensor(call, w, "w", TensorType::kF32, w.rows, w.cols);
  expect(call, w.rows > 0 && w.cols > 0, "'w' must not be empty");
  const int64_t kernels = call.output(1).rows;
  expect(call, kernels >= 1, "there must be at least one kernel");
  expect_tensor(call, call.output(0), "kernels", TensorType::kBits, kernels * w.rows, w.cols);
  expect_tensor(call, call.output(1), "s_out", TensorType::kF32, kernels, w.rows);
  expect_tensor(call, call.output(2), "s_in", TensorType::kF32, kernels, w.cols);
  expect_tensor(call, call.output(3), "residual", TensorType::kF32, 1, kernels);
  expect(call, call.integer(0) >= 1, "there must be at least one iteration");
}

size_t scratch_bytes(const Call& call, int) { return Layout(call.input(0).rows, call.input(0).cols).bytes; }

struct Step {
  double length;  // of the new direction, before normalization
  double moved;   // its distance from the previous direction
};

// v ← the normalized sum of all tasks' partial sums. The total replaces the first task's sums.
Step next_direction(ThreadPool& pool, double* sums, int64_t tasks, int64_t n, double* v) {
  pool.parallel_for((n + kColumns - 1) / kColumns, [=](int64_t task, int) {
    const int64_t end = std::min(n, (task + 1) * kColumns);
    for (int64_t t = 1; t < tasks; ++t)
      for (int64_t j = task * kColumns; j < end; ++j) sums[j] += sums[t * n + j];
  });
  double squares = 0;
  for (int64_t j = 0; j < n; ++j) squares += sums[j] * sums[j];
  const double length = std::sqrt(squares);
  const double inverse = length > 0 ? 1 / length : 0;
  double moved = 0;
  for (int64_t j = 0; j < n; ++j) {
    const double next = sums[j] * inverse;
    moved += (next - v[j]) * (next - v[j]);
    v[j] = next;
  }
  return {length, std::sqrt(moved)};
}

void run(const Call& call) {
  const Tensor& w = call.input(0);
  const int64_t m = w.rows, n = w.cols, words = w.words(), kernels = call.output(1).rows;
  const Layout layout(m, n);
  double* v = reinterpret_cast<double*>(call.scratch + layout.v);
  double* u = reinterpret_cast<double*>(call.scratch + layout.u);
  double* sums = reinterpret_cast<double*>(call.scratch + layout.sums);
  double* squares = reinterpret_cast<double*>(call.scratch + layout.squares);
  float* residual = reinterpret_cast<float*>(call.scratch + layout.residual);
  const int64_t per_task = layout.rows_per_task;
  const auto rows_of = [=](int64_t task) { return std::min(per_task, m - task * per_task); };
  const auto total = [=] {
    double sum = 0;
    for (int64_t t = 0; t < layout.tasks; ++t) sum += squares[t];
    return sum;
  };
  MagnitudeStepFunction* step = magnitude_step_table.best();
  ExtractRowFunction* extract = extract_row_table.best();

  const float* source = w.f32();
  call.pool->parallel_for(layout.tasks, [=](int64_t task, int) {
    const float* rows = source + task * per_task * n;
    squares[task] = dot_table.best()(rows, rows, rows_of(task) * n);
  });
  const double norm = std::sqrt(total());
  if (!std::isfinite(norm)) throw Error("MBOK_NON_FINITE", "svid: the matrix holds values that are not finite");

  for (int64_t k = 0; k < kernels; ++k) {
    float* s_out = call.output(1).f32() + k * m;
    float* s_in = call.output(2).f32() + k * n;
    uint64_t* bits = call.output(0).bits() + k * m * words;
    std::fill(v, v + n, 1 / std::sqrt(static_cast<double>(n)));
    Step last{0, 0};
    for (int64_t i = 0; i < call.integer(0); ++i) {
      call.pool->parallel_for(layout.tasks, [=](int64_t task, int) {
        const int64_t first = task * per_task;
        step(source + first * n, rows_of(task), n, v, u + first, sums + task * n);
      });
      last = next_direction(*call.pool, sums, layout.tasks, n, v);
      if (last.moved < kTolerance) break;
    }
    // u = |R| v and |R|ᵀ u = length · v, so σ = length / ‖u‖
    double u_squares = 0;
    for (int64_t i = 0; i < m; ++i) u_squares += u[i] * u[i];
    const double u_length = std::sqrt(u_squares);
    const double root = u_length > 0 ? std::sqrt(last.length / u_length) : 0;
    for (int64_t i = 0; i < m; ++i) s_out[i] = u_length > 0 ? static_cast<float>(u[i] / u_length * root) : 0.0f;
    for (int64_t j = 0; j < n; ++j) s_in[j] = static_cast<float>(v[j] * root);

    call.pool->parallel_for(layout.tasks, [=](int64_t task, int) {
      double sum = 0;
      for (int64_t i = task * per_task; i < task * per_task + rows_of(task); ++i)
        sum += extract(source + i * n, s_out[i], s_in, n, bits + i * words, residual + i * n);
      squares[task] = sum;
    });
    call.output(3).f32()[k] = norm > 0 ? static_cast<float>(std::sqrt(total()) / norm) : 0.0f;
    source = residual;
  }
}

}  // namespace

extern const Operation svid_operation;
const Operation svid_operation = {"svid", check, scratch_bytes, run, false};

}  // namespace mbok
