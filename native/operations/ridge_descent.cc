// Steps of preconditioned conjugate gradients for Q X Λ + p X = M + p (Z − U) with p = ridge · mean(diag Q), from the
// present X. All matrices are in the basis in which the right factor Λ is diagonal. The preconditioner replaces Q by its
// mean diagonal: 1 / (mean(diag Q) λ_j + p).
//
// First U ← U + X − Z, the dual update of the step before. A step is one product with Q and two passes over five
// matrices. Sums are f64, in a fixed order.
//
// inputs q [r, r] symmetric, m, z [r, n], lambda [1, n], ridge [1, 1]; in place u, x [r, n]; attribute steps
#include <algorithm>
#include <cmath>

#include "operations/damping.h"
#include "operations/product.h"
#include "operations/rows.h"
#include "operations/scratch.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 5, 2, 1);
  const int64_t r = call.input(1).rows, n = call.input(1).cols;
  expect_tensor(call, call.input(0), "q", TensorType::kF32, r, r);
  expect_tensor(call, call.input(1), "m", TensorType::kF32, r, n);
  expect_tensor(call, call.input(2), "z", TensorType::kF32, r, n);
  expect_tensor(call, call.input(3), "lambda", TensorType::kF32, 1, n);
  expect_tensor(call, call.input(4), "ridge", TensorType::kF32, 1, 1);
  expect_tensor(call, call.output(0), "u", TensorType::kF32, r, n);
  expect_tensor(call, call.output(1), "x", TensorType::kF32, r, n);
  expect(call, call.integer(0) >= 1, "there must be at least one step");
}

ProductShape times_q(int64_t r, int64_t n) { return {r, n, r, r, n, n, false, true, false}; }

struct Parts {
  Parts(int64_t r, int64_t n, int threads, Scratch& scratch)
      : residual(scratch.take<float>(r * n)),
        direction(scratch.take<float>(r * n)),
        image(scratch.take<float>(r * n)),
        preconditioner(scratch.take<float>(n)),
        sums(scratch.take<double>(split_rows(r, n).tasks())),
        product(scratch.take<std::byte>(static_cast<int64_t>(product_scratch(times_q(r, n), Precision::kF32, threads)))) {}

  float *residual, *direction, *image;
  float* preconditioner;  // by column
  double* sums;           // by task
  std::byte* product;
};

size_t scratch_bytes(const Call& call, int threads) {
  Scratch scratch(nullptr);
  const Parts parts(call.input(1).rows, call.input(1).cols, threads, scratch);
  return scratch.used();
}

// Calls body(row's first element) for every row and returns the sum of its results.
template <class Body>
double sum_over_rows(ThreadPool& pool, int64_t r, int64_t n, double* sums, Body&& body) {
  const RowSplit split = split_rows(r, n);
  pool.parallel_for(split.tasks(), [&](int64_t task, int) {
    double sum = 0;
    for (int64_t i = split.first(task); i < split.first(task) + split.count(task); ++i) sum += body(i * n);
    sums[task] = sum;
  });
  double total = 0;
  for (int64_t task = 0; task < split.tasks(); ++task) total += sums[task];
  return total;
}

void run(const Call& call) {
  const int64_t r = call.input(1).rows, n = call.input(1).cols;
  ThreadPool& pool = *call.pool;
  Scratch scratch(call.scratch);
  const Parts parts(r, n, pool.threads(), scratch);
  const float *const q = call.input(0).f32(), *const m = call.input(1).f32(), *const z = call.input(2).f32();
  const float* const lambda = call.input(3).f32();
  float *const u = call.output(0).f32(), *const x = call.output(1).f32();
  float *const residual = parts.residual, *const direction = parts.direction, *const image = parts.image;
  float* const inverse = parts.preconditioner;
  double trace = 0;
  for (int64_t i = 0; i < r; ++i) trace += static_cast<double>(q[i * r + i]);
  const double mean = trace / static_cast<double>(r);
  const auto p = static_cast<float>(damping_shift(q, r, static_cast<double>(*call.input(4).f32())));
  for (int64_t j = 0; j < n; ++j) inverse[j] = static_cast<float>(1 / (mean * lambda[j] + p));

  product(pool, q, x, image, times_q(r, n), Precision::kF32, parts.product);
  double strength = sum_over_rows(pool, r, n, parts.sums, [=](int64_t row) {
    double sum = 0;
    for (int64_t j = 0; j < n; ++j) {
      const int64_t i = row + j;
      u[i] += x[i] - z[i];
      residual[i] = m[i] + p * (z[i] - u[i]) - (image[i] * lambda[j] + p * x[i]);
      direction[i] = residual[i] * inverse[j];
      sum += static_cast<double>(residual[i]) * direction[i];
    }
    return sum;
  });
  for (int64_t step = 0; step < call.integer(0) && strength > 0; ++step) {
    product(pool, q, direction, image, times_q(r, n), Precision::kF32, parts.product);
    const double curvature = sum_over_rows(pool, r, n, parts.sums, [=](int64_t row) {
      double sum = 0;
      for (int64_t j = 0; j < n; ++j) {
        const int64_t i = row + j;
        image[i] = image[i] * lambda[j] + p * direction[i];
        sum += static_cast<double>(image[i]) * direction[i];
      }
      return sum;
    });
    if (!(curvature > 0)) break;
    const auto length = static_cast<float>(strength / curvature);
    const double next = sum_over_rows(pool, r, n, parts.sums, [=](int64_t row) {
      double sum = 0;
      for (int64_t j = 0; j < n; ++j) {
        const int64_t i = row + j;
        x[i] += length * direction[i];
        residual[i] -= length * image[i];
        sum += static_cast<double>(residual[i]) * residual[i] * inverse[j];
      }
      return sum;
    });
    const auto turn = static_cast<float>(next / strength);
    strength = next;
    for_row_tasks(pool, split_rows(r, n), [=](int64_t first, int64_t count) {
      for (int64_t row = first; row < first + count; ++row)
        for (int64_t j = 0; j < n; ++j) {
          const int64_t i = row * n + j;
          direction[i] = residual[i] * inverse[j] + turn * direction[i];
        }
    });
  }
}

}  // namespace

extern const Operation ridge_descent_operation;
const Operation ridge_descent_operation = {"ridge_descent", check, scratch_bytes, run, false};

}  // namespace mbok
