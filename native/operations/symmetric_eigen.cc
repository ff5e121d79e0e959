// A = Vᵀ Λ V for a symmetric A: eigenvalues ascending, eigenvectors in the rows of V.
//
// 1. Householder reflections in panels of kPanel reduce A to a tridiagonal T (as LAPACK's sytrd). Half of the work is
//    A·v, once per column, at memory bandwidth; the other half updates the rest of A by one product per panel.
// 2. T is solved by divide and conquer (tridiagonal_eigen.h).
// 3. The reflections, again in panels, turn T's vectors into those of A by products: H₀ … H_k = I − Vᵀ T V.
//
// About 9 n³ operations, 7 n³ of them in products; 4 n² floats of scratch. Errors are those of f32, relative to the
// largest eigenvalue.
//
// input a [n, n] symmetric; outputs vectors [n, n], values [1, n]
#include <algorithm>
#include <cmath>

#include "kernels/dot/dot.h"
#include "operations/product.h"
#include "operations/rows.h"
#include "operations/tridiagonal_eigen.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr int64_t kPanel = 32;

void check(const Call& call) {
  expect_counts(call, 1, 2, 0);
  const int64_t n = call.input(0).cols;
  expect_tensor(call, call.input(0), "a", TensorType::kF32, n, n);
  expect_tensor(call, call.output(0), "vectors", TensorType::kF32, n, n);
  expect_tensor(call, call.output(1), "values", TensorType::kF32, 1, n);
}

// C[n, n] += P[2·kPanel, n]ᵀ · Q[2·kPanel, n], from column `first` on.
ProductShape update_shape(int64_t n, int64_t first, int64_t depth) {
  return {n - first, n - first, depth, n, n, n, true, true, true};
}
// Y[n, kPanel] = vectors[n, ·] · panel[kPanel, ·]ᵀ, from column `first` on.
ProductShape project_shape(int64_t n, int64_t first, int64_t count) {
  return {n, count, n - first, n, n, kPanel, false, false, false};
}
// vectors[n, ·] += Y[n, kPanel] · panel[kPanel, ·].
ProductShape reflect_shape(int64_t n, int64_t first, int64_t count) {
  return {n, n - first, count, kPanel, n, n, false, true, true};
}

struct Parts {
  Parts(int64_t n, int threads, Scratch& scratch)
      : a(scratch.take<float>(n * n)),
        left(scratch.take<float>(2 * kPanel * n)),
        right(scratch.take<float>(2 * kPanel * n)),
        projected(scratch.take<float>(n * kPanel)),
        reflected(scratch.take<float>(n * kPanel)),
        diagonal(scratch.take<double>(n)),
        off_diagonal(scratch.take<double>(n)),
        factors(scratch.take<double>(n)),
        image(scratch.take<double>(n)) {
    size_t bytes = 0;
    for (const ProductShape& shape :
         {update_shape(n, 0, 2 * kPanel), project_shape(n, 0, kPanel), reflect_shape(n, 0, kPanel)})
      bytes = std::max(bytes, product_scratch(shape, Precision::kF32, threads));
    product = scratch.take<std::byte>(static_cast<int64_t>(bytes));
  }

  float* a;                   // row k holds reflection k from column k + 1 on, once it is computed
  float *left, *right;        // [2·kPanel, n]: −v, −w and w, v of a panel
  float *projected, *reflected;
  double *diagonal, *off_diagonal;
  double* factors;            // β of every reflection I − β v vᵀ
  double* image;
  std::byte* product;
};

size_t scratch_bytes(const Call& call, int threads) {
  Scratch scratch(nullptr);
  const int64_t n = call.input(0).cols;
  const Parts parts(n, threads, scratch);
  const TridiagonalScratch tridiagonal(n, threads, scratch);
  return scratch.used();
}

// Reduces columns [begin, end) and updates the rest of A. v and w of earlier columns of the panel are applied to a
// column when it is its turn, and to A as a whole at the end.
void reduce_panel(ThreadPool& pool, const Parts& p, int64_t n, int64_t begin, int64_t end) {
  const int64_t most = end - begin;
  float *const v = p.right + most * n, *const w = p.right;  // rows of the panel
  for (int64_t k = begin; k < end; ++k) {
    const int64_t own = k - begin, first = k + 1;
    float* const x = p.a + k * n;
    for (int64_t i = 0; i < own; ++i) {
      const float vk = v[i * n + k], wk = w[i * n + k];
      for (int64_t j = k; j < n; ++j) x[j] -= vk * w[i * n + j] + wk * v[i * n + j];
    }
    p.diagonal[k] = x[k];
    const double length = std::sqrt(dot_table.best()(x + first, x + first, n - first));
    float *const vk = v + own * n, *const wk = w + own * n;
    std::fill(vk, vk + n, 0.0f);
    std::fill(wk, wk + n, 0.0f);
    p.factors[k] = 0;
    p.off_diagonal[k] = x[first];
    if (first == n - 1 || length == 0) continue;  // H = I
    const double image = x[first] > 0 ? -length : length;
    p.off_diagonal[k] = image;
    x[first] = static_cast<float>(x[first] - image);
    std::copy(x + first, x + n, vk + first);
    const double beta = 2 / dot_table.best()(vk + first, vk + first, n - first);
    p.factors[k] = beta;
    const RowSplit split = split_rows(n - first, n - first);
    for_row_tasks(pool, split, [&](int64_t row, int64_t count) {
      for (int64_t i = first + row; i < first + row + count; ++i)
        p.image[i] = dot_table.best()(p.a + i * n + first, vk + first, n - first);
    });
    for (int64_t i = 0; i < own; ++i) {
      const double along_w = dot_table.best()(w + i * n + first, vk + first, n - first);
      const double along_v = dot_table.best()(v + i * n + first, vk + first, n - first);
      for (int64_t j = first; j < n; ++j) p.image[j] -= along_w * v[i * n + j] + along_v * w[i * n + j];
    }
    double along = 0;
    for (int64_t j = first; j < n; ++j) along += p.image[j] * vk[j];
    for (int64_t j = first; j < n; ++j)
      wk[j] = static_cast<float>(beta * (p.image[j] - beta / 2 * along * vk[j]));
  }
  for (int64_t i = 0; i < most * n; ++i) {
    p.left[i] = -v[i];
    p.left[most * n + i] = -w[i];
  }
  if (end < n)
    product(pool, p.left + end, p.right + end, p.a + end * n + end, update_shape(n, end, 2 * most), Precision::kF32,
            p.product);
}

// vectors ← vectors · H_{end−1} … H_begin.
void reflect_panel(ThreadPool& pool, const Parts& p, int64_t n, int64_t begin, int64_t end, float* vectors) {
  const int64_t count = end - begin, first = begin + 1;
  float* const v = p.left;
  double t[kPanel * kPanel] = {};  // H_begin … H_{end−1} = I − Vᵀ T V, T upper triangular
  for (int64_t k = 0; k < count; ++k) {
    std::fill(v + k * n, v + k * n + begin + k + 1, 0.0f);
    std::copy(p.a + (begin + k) * n + begin + k + 1, p.a + (begin + k + 1) * n, v + k * n + begin + k + 1);
    const double beta = p.factors[begin + k];
    double along[kPanel];
    for (int64_t i = 0; i < k; ++i) along[i] = dot_table.best()(v + i * n + first, v + k * n + first, n - first);
    for (int64_t i = 0; i < k; ++i) {
      double sum = 0;
      for (int64_t j = i; j < k; ++j) sum += t[i * kPanel + j] * along[j];
      t[i * kPanel + k] = -beta * sum;
    }
    t[k * kPanel + k] = beta;
  }
  product(pool, vectors + first, v + first, p.projected, project_shape(n, first, count), Precision::kF32, p.product);
  pool.parallel_for(n, [&](int64_t row, int) {
    for (int64_t i = 0; i < count; ++i) {
      double sum = 0;
      for (int64_t j = i; j < count; ++j) sum += t[i * kPanel + j] * p.projected[row * kPanel + j];
      p.reflected[row * kPanel + i] = static_cast<float>(-sum);
    }
  });
  product(pool, p.reflected, v + first, vectors + first, reflect_shape(n, first, count), Precision::kF32, p.product);
}

void run(const Call& call) {
  const int64_t n = call.input(0).cols;
  ThreadPool& pool = *call.pool;
  Scratch scratch(call.scratch);
  const Parts parts(n, pool.threads(), scratch);
  const TridiagonalScratch tridiagonal(n, pool.threads(), scratch);
  float* const vectors = call.output(0).f32();
  std::copy(call.input(0).f32(), call.input(0).f32() + n * n, parts.a);
  if (!std::isfinite(dot_table.best()(parts.a, parts.a, n * n)))
    throw Error("MBOK_NON_FINITE", "symmetric_eigen: the matrix holds values that are not finite");
  for (int64_t begin = 0; begin < n - 1; begin += kPanel)
    reduce_panel(pool, parts, n, begin, std::min(n - 1, begin + kPanel));
  parts.diagonal[n - 1] = parts.a[n * n - 1];
  tridiagonal_eigen(pool, n, parts.diagonal, parts.off_diagonal, vectors, tridiagonal);
  for (int64_t begin = (n - 2) / kPanel * kPanel; n > 1 && begin >= 0; begin -= kPanel)
    reflect_panel(pool, parts, n, begin, std::min(n - 1, begin + kPanel), vectors);
  for (int64_t i = 0; i < n; ++i) call.output(1).f32()[i] = static_cast<float>(parts.diagonal[i]);
  // numbers near the largest f32 overflow in products
  if (!std::isfinite(parts.diagonal[n - 1]) || !std::isfinite(dot_table.best()(vectors, vectors, n * n)))
    throw Error("MBOK_NON_FINITE", "symmetric_eigen: the numbers of the matrix are too large");
}

}  // namespace

extern const Operation symmetric_eigen_operation;
const Operation symmetric_eigen_operation = {"symmetric_eigen", check, scratch_bytes, run, false};

}  // namespace mbok
