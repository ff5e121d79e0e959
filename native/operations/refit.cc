// Joint refit of W ≈ Ŵ = Σₖ diag(s_out[k]) B[k] diag(s_in[k]), in place, by alternating exact minimization of ‖W − Ŵ‖²:
//   rows      s_out[·, i] by K × K least squares with design rows B[k, i, ·] ⊙ s_in[k]
//   columns   s_in[·, j] likewise with B[k, ·, j] ⊙ s_out[k]
//   signs     each element takes the nearest of its 2^K levels
// Each solve has a ridge of 1e-6 times the mean of its diagonal. The signs of a round and the rows of the next need
// only one row of W and its bits, so they share a pass. With K = 1 successive extraction is already optimal and nothing
// changes.
//
// Rows are split into tasks of kRows, columns into tasks of one word of bits, so no sum crosses tasks.
//
// inputs w [m, n]; outputs kernels bits [K·m, n], s_out [K, m], s_in [K, n] (all three read and written),
// residual [1, 1] = ‖W − Ŵ‖ / ‖W‖ (0 for W = 0); attribute rounds
#include <algorithm>
#include <cmath>

#include "kernels/dot/dot.h"
#include "kernels/refit/refit.h"
#include "operations/normal_equations.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr double kRidge = 1e-6;
constexpr int64_t kRows = 16;
constexpr int64_t kStripRows = 512;  // of a strip of 64 columns: 128 KiB of W, traversed 8 (AVX-512) or 16 times

void check(const Call& call) {
  expect_counts(call, 1, 4, 1);
  const Tensor& w = call.input(0);
  expect_tensor(call, w, "w", TensorType::kF32, w.rows, w.cols);
  expect(call, w.rows > 0 && w.cols > 0, "'w' must not be empty");
  const int64_t kernels = call.output(1).rows;
  expect(call, kernels >= 1 && kernels <= kMaxRefitKernels, "there must be 1 to 8 kernels");
  expect_tensor(call, call.output(0), "kernels", TensorType::kBits, kernels * w.rows, w.cols);
  expect_tensor(call, call.output(1), "s_out", TensorType::kF32, kernels, w.rows);
  expect_tensor(call, call.output(2), "s_in", TensorType::kF32, kernels, w.cols);
  expect_tensor(call, call.output(3), "residual", TensorType::kF32, 1, 1);
  expect(call, call.integer(0) >= 0, "rounds must not be negative");
}

int64_t row_tasks(int64_t m) { return (m + kRows - 1) / kRows; }

size_t scratch_bytes(const Call& call, int) {
  return static_cast<size_t>(row_tasks(call.input(0).rows)) * 2 * sizeof(double);
}

struct Model {
  const float* w;
  int64_t m, n, words;
  int kernels;
  uint64_t* bits;
  float* s_out;
  float* s_in;

  template <class Word>
  CodeRow<Word> row(int64_t i, float* own_s_out) const {
    for (int k = 0; k < kernels; ++k) own_s_out[k] = s_out[k * m + i];
    return {bits + i * words, m * words, own_s_out, s_in, n, kernels};
  }
};

void choose_signs(const Model& model, int64_t i) {
  float s_out[kMaxRefitKernels];
  nearest_levels_table.best()(model.w + i * model.n, model.row<uint64_t>(i, s_out), model.n);
}

void solve_row(const Model& model, int64_t i) {
  float s_out[kMaxRefitKernels];
  double gram[kMaxRefitKernels * kMaxRefitKernels], moment[kMaxRefitKernels], x[kMaxRefitKernels];
  row_sums_table.best()(model.w + i * model.n, model.row<const uint64_t>(i, s_out), model.n, gram, moment);
  solve_normal_equations(gram, moment, model.kernels, kRidge, x);
  for (int k = 0; k < model.kernels; ++k) model.s_out[k * model.m + i] = static_cast<float>(x[k]);
}

// Solves the columns of one word of bits.
void solve_columns(const Model& model, const double* diagonal, int64_t word) {
  const int kernels = model.kernels;
  const int64_t first = word * 64, cols = std::min<int64_t>(64, model.n - first);
  double grams[kMaxRefitKernels * kMaxRefitKernels * 64] = {}, moments[kMaxRefitKernels * 64] = {};
  for (int64_t i = 0; i < model.m; i += kStripRows) {
    const CodeStrip strip = {
        model.bits + i * model.words + word, model.m * model.words, model.words, model.s_out + i, model.m, kernels};
    column_sums_table.best()(model.w + i * model.n + first, model.n, std::min(kStripRows, model.m - i), strip, cols,
                             grams, moments);
  }
  for (int64_t j = 0; j < cols; ++j) {
    double gram[kMaxRefitKernels * kMaxRefitKernels], moment[kMaxRefitKernels], x[kMaxRefitKernels];
    for (int k = 0; k < kernels; ++k) {
      gram[k * kernels + k] = diagonal[k];
      moment[k] = moments[k * 64 + j];
      for (int l = k + 1; l < kernels; ++l)
        gram[k * kernels + l] = gram[l * kernels + k] = grams[(k * kernels + l) * 64 + j];
    }
    solve_normal_equations(gram, moment, kernels, kRidge, x);
    for (int k = 0; k < kernels; ++k) model.s_in[k * model.n + first + j] = static_cast<float>(x[k]);
  }
}

void run(const Call& call) {
  const Tensor& w = call.input(0);
  const Model model = {w.f32(),
                       w.rows,
                       w.cols,
                       w.words(),
                       static_cast<int>(call.output(1).rows),
                       call.output(0).bits(),
                       call.output(1).f32(),
                       call.output(2).f32()};
  const int64_t m = model.m, tasks = row_tasks(m);
  const int64_t rounds = model.kernels == 1 ? 0 : call.integer(0);
  const auto each_row = [m](int64_t task, auto&& body) {
    for (int64_t i = task * kRows; i < std::min(m, (task + 1) * kRows); ++i) body(i);
  };

  for (int64_t round = 0; round < rounds; ++round) {
    call.pool->parallel_for(tasks, [&](int64_t task, int) {
      each_row(task, [&](int64_t i) {
        if (round > 0) choose_signs(model, i);
        solve_row(model, i);
      });
    });
    double diagonal[kMaxRefitKernels];
    for (int k = 0; k < model.kernels; ++k) {
      double sum = 0;
      for (int64_t i = 0; i < m; ++i) sum += static_cast<double>(model.s_out[k * m + i]) * model.s_out[k * m + i];
      diagonal[k] = sum;
    }
    call.pool->parallel_for(model.words, [&](int64_t word, int) { solve_columns(model, diagonal, word); });
  }

  double* squares = reinterpret_cast<double*>(call.scratch);  // per task: of W − Ŵ, then of W
  call.pool->parallel_for(tasks, [&](int64_t task, int) {
    double rest = 0, own = 0;
    each_row(task, [&](int64_t i) {
      if (rounds > 0) choose_signs(model, i);
      float s_out[kMaxRefitKernels];
      const float* row = model.w + i * model.n;
      rest += residual_row_table.best()(row, model.row<const uint64_t>(i, s_out), model.n, nullptr);
      own += dot_table.best()(row, row, model.n);
    });
    squares[2 * task] = rest;
    squares[2 * task + 1] = own;
  });
  double rest = 0, own = 0;
  for (int64_t task = 0; task < tasks; ++task) {
    rest += squares[2 * task];
    own += squares[2 * task + 1];
  }
  call.output(3).f32()[0] = own > 0 ? static_cast<float>(std::sqrt(rest / own)) : 0.0f;
}

}  // namespace

extern const Operation refit_operation;
const Operation refit_operation = {"refit", check, scratch_bytes, run, false};

}  // namespace mbok
