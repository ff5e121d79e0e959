// Operations that fit factor pairs: the same bits on one thread and on three, and what defines each result.
#include <cmath>

#include "run.h"

namespace mbok::test {
namespace {

size_t element(int64_t i) { return static_cast<size_t>(i); }

// X̃ᵀX̃ of random rows: symmetric, positive definite if there are enough rows.
std::vector<float> gram(Random& random, int64_t n, int64_t samples) {
  const std::vector<float> x = random.normals(samples * n);
  std::vector<float> g(element(n * n));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t s = 0; s < samples; ++s)
        sum += static_cast<double>(x[element(s * n + i)]) * x[element(s * n + j)];
      g[element(i * n + j)] = static_cast<float>(sum);
    }
  return g;
}

TEST("symmetric_eigen: vectors and values rebuild the matrix") {
  Random random(1);
  for (const int64_t n : {1, 2, 5, 32, 33, 64, 97, 150})
    for (const int64_t samples : {n + 3, (n + 1) / 2}) {
      const std::vector<float> a = gram(random, n, samples);
      const std::string name = std::to_string(n) + " of rank " + std::to_string(samples);
      const auto results = same_for_any_threads(
          {std::vector<float>(element(n * n)), std::vector<float>(element(n))}, name,
          [&](ThreadPool& pool, std::vector<std::vector<float>>& out) {
            run_operation(pool, "symmetric_eigen", {matrix(a, n, n)}, {matrix(out[0], n, n), matrix(out[1], 1, n)}, {});
          });
      const std::vector<float>&v = results[0], &values = results[1];
      std::vector<float> rebuilt(a.size()), identity(a.size()), unit(a.size());
      for (int64_t i = 0; i < n; ++i) {
        unit[element(i * n + i)] = 1;
        if (i > 0) CHECK(values[element(i - 1)] <= values[element(i)], name);
        for (int64_t j = 0; j < n; ++j) {
          double sum = 0, dot = 0;
          for (int64_t k = 0; k < n; ++k) {
            sum += static_cast<double>(values[element(k)]) * v[element(k * n + i)] * v[element(k * n + j)];
            dot += static_cast<double>(v[element(i * n + k)]) * v[element(j * n + k)];
          }
          rebuilt[element(i * n + j)] = static_cast<float>(sum);
          identity[element(i * n + j)] = static_cast<float>(dot);
        }
      }
      CHECK(relative_error(rebuilt, a) < 1e-5, name);
      CHECK(relative_error(identity, unit) < 1e-5, name);
    }
}

TEST("ridge_solve: the solution satisfies its equation, for few rows and for many") {
  Random random(2);
  for (const int64_t r : {1, 9, 64, 100})
    for (const int64_t q : {int64_t{1}, r, 2 * r + 1}) {
      const std::vector<float> g = gram(random, r, r + 4), b = random.normals(q * r), z = random.normals(q * r),
                               u = random.normals(q * r), ridge = {0.3f};
      const std::string name = std::to_string(r) + " unknowns, " + std::to_string(q) + " rows";
      const std::vector<float> x =
          for_any_threads(std::vector<float>(b.size()), name, [&](ThreadPool& pool, std::vector<float>& out) {
            run_operation(pool, "ridge_solve",
                          {matrix(g, r, r), matrix(b, q, r), matrix(ridge, 1, 1), matrix(z, q, r), matrix(u, q, r)},
                          {matrix(out, q, r)}, {});
          });
      double p = 0;
      for (int64_t i = 0; i < r; ++i) p += 0.3 * static_cast<double>(g[element(i * r + i)]) / static_cast<double>(r);
      std::vector<float> left(b.size()), right(b.size());
      for (int64_t i = 0; i < q; ++i)
        for (int64_t j = 0; j < r; ++j) {
          double sum = p * static_cast<double>(x[element(i * r + j)]);
          for (int64_t k = 0; k < r; ++k)
            sum += static_cast<double>(x[element(i * r + k)]) * g[element(k * r + j)];
          left[element(i * r + j)] = static_cast<float>(sum);
          right[element(i * r + j)] = static_cast<float>(
              static_cast<double>(b[element(i * r + j)]) +
              p * (static_cast<double>(z[element(i * r + j)]) - static_cast<double>(u[element(i * r + j)])));
        }
      CHECK(relative_error(left, right) < 1e-4, name);
    }
}

TEST("ridge_descent: many steps reach the solution") {
  Random random(3);
  for (const int64_t r : {1, 7, 40})
    for (const int64_t n : {3, 65}) {
      const std::vector<float> q = gram(random, r, 3 * r + 4), m = random.normals(r * n), z = random.normals(r * n);
      std::vector<float> lambda(element(n));
      for (int64_t j = 0; j < n; ++j) lambda[element(j)] = 0.1f + static_cast<float>(j % 5);
      const std::vector<float> ridge = {0.5f}, dual = random.normals(r * n), start = random.normals(r * n);
      const std::string name = std::to_string(r) + " x " + std::to_string(n);
      const auto results =
          same_for_any_threads({dual, start}, name, [&](ThreadPool& pool, std::vector<std::vector<float>>& out) {
            run_operation(pool, "ridge_descent",
                          {matrix(q, r, r), matrix(m, r, n), matrix(z, r, n), matrix(lambda, 1, n), matrix(ridge, 1, 1)},
                          {matrix(out[0], r, n), matrix(out[1], r, n)}, {40});
          });
      const std::vector<float>&u = results[0], &x = results[1];
      double p = 0;
      for (int64_t i = 0; i < r; ++i) p += 0.5 * static_cast<double>(q[element(i * r + i)]) / static_cast<double>(r);
      std::vector<float> left(x.size()), right(x.size()), moved(x.size());
      for (int64_t i = 0; i < r; ++i)
        for (int64_t j = 0; j < n; ++j) {
          const size_t at = element(i * n + j);
          double sum = 0;
          for (int64_t k = 0; k < r; ++k)
            sum += static_cast<double>(q[element(i * r + k)]) * x[element(k * n + j)];
          left[at] = static_cast<float>(sum * static_cast<double>(lambda[element(j)]) + p * static_cast<double>(x[at]));
          right[at] = static_cast<float>(static_cast<double>(m[at]) +
                                         p * (static_cast<double>(z[at]) - static_cast<double>(u[at])));
          moved[at] = dual[at] + start[at] - z[at];
        }
      CHECK(relative_error(left, right) < 1e-3, name);
      CHECK(relative_error(u, moved) < 1e-6, name);
    }
}

TEST("magnitude_projection: z has the signs of x + dual and magnitudes of rank 1, and the dual is what remains") {
  Random random(4);
  for (const int64_t m : {1, 6, 50})
    for (const int64_t n : {1, 33, 130}) {
      const std::vector<float> x = random.normals(m * n), dual = random.normals(m * n);
      const std::string name = std::to_string(m) + " x " + std::to_string(n);
      const auto results = same_for_any_threads(
          {dual, std::vector<float>(element(n), 1.0f), std::vector<float>(x.size()), std::vector<float>(element(m))}, name,
          [&](ThreadPool& pool, std::vector<std::vector<float>>& out) {
            run_operation(pool, "magnitude_projection", {matrix(x, m, n)},
                          {matrix(out[0], m, n), matrix(out[1], 1, n), matrix(out[2], m, n), matrix(out[3], 1, m)}, {});
          });
      double length = 0;
      for (const float u : results[3]) length += static_cast<double>(u) * u;
      CHECK(std::abs(length - 1) < 1e-5, name);
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          const size_t at = element(i * n + j);
          const float sum = dual[at] + x[at], size = results[3][element(i)] * results[1][element(j)];
          CHECK(results[2][at] == (sum >= 0 ? size : -size), name);
          CHECK(results[0][at] == sum - results[2][at], name);
        }
    }
}

TEST("sign_descent: flips in the order of columns, only where the sum falls") {
  Random random(6);
  const int64_t m = 9, r = 21;
  const std::vector<float> g = gram(random, r, 40), moments = random.normals(m * r), sizes = random.normals(m);
  std::vector<float> x = random.normals(m * r), gradient(x.size());
  for (int64_t i = 0; i < m * r; ++i) x[element(i)] = std::copysign(sizes[element(i / r)], x[element(i)]);
  // half the gradient of tr(x G xᵀ) − 2 tr(x Mᵀ) with respect to x_ik
  const auto gradient_at = [&](const std::vector<float>& at, int64_t i, int64_t k) {
    double sum = -static_cast<double>(moments[element(i * r + k)]);
    for (int64_t l = 0; l < r; ++l)
      sum += static_cast<double>(at[element(i * r + l)]) * static_cast<double>(g[element(l * r + k)]);
    return sum;
  };
  for (int64_t i = 0; i < m * r; ++i) gradient[element(i)] = static_cast<float>(gradient_at(x, i / r, i % r));
  std::vector<float> expected = x;
  int64_t flips = 0;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t k = 0; k < r; ++k) {
      float& value = expected[element(i * r + k)];
      const double wide = static_cast<double>(value), curvature = static_cast<double>(g[element(k * r + k)]);
      if (wide * gradient_at(expected, i, k) <= wide * wide * curvature) continue;
      value = -value;
      ++flips;
    }
  CHECK(flips > 10, "there are signs to flip");
  const auto results =
      same_for_any_threads({x, gradient}, "sign_descent", [&](ThreadPool& pool, std::vector<std::vector<float>>& out) {
        run_operation(pool, "sign_descent", {matrix(g, r, r)}, {matrix(out[0], m, r), matrix(out[1], m, r)}, {});
      });
  for (int64_t i = 0; i < m * r; ++i) {
    CHECK(results[0][element(i)] == expected[element(i)], "sign_descent: signs");
    const double after = gradient_at(expected, i / r, i % r);
    CHECK(std::abs(static_cast<double>(results[1][element(i)]) - after) < 1e-3, "sign_descent: gradient");
  }
}

TEST("coupled_sign_descent: flips in the order of rows and columns, only where the sum falls") {
  Random random(7);
  for (const int64_t n : {1, 9, 150}) {
    const int64_t r = 11;
    const std::vector<float> g = gram(random, r, 40), h = gram(random, n, n + 30), moments = random.normals(n * r);
    std::vector<float> x = random.normals(n * r);
    for (float& value : x) value = std::copysign(0.05f, value);
    // half the gradient of tr(xᵀ H x G) − 2 tr(xᵀ M) with respect to x_jk; image is x G
    const auto times_gram = [&](const std::vector<float>& at) {
      std::vector<double> image(at.size());
      for (int64_t j = 0; j < n; ++j)
        for (int64_t k = 0; k < r; ++k)
          for (int64_t l = 0; l < r; ++l)
            image[element(j * r + k)] += static_cast<double>(at[element(j * r + l)]) * g[element(l * r + k)];
      return image;
    };
    std::vector<float> expected = x;
    std::vector<double> image = times_gram(expected);
    int64_t flips = 0;
    for (int64_t j = 0; j < n; ++j)
      for (int64_t k = 0; k < r; ++k) {
        double gradient = -static_cast<double>(moments[element(j * r + k)]);
        for (int64_t i = 0; i < n; ++i) gradient += static_cast<double>(h[element(j * n + i)]) * image[element(i * r + k)];
        float& value = expected[element(j * r + k)];
        const double wide = static_cast<double>(value);
        const double curvature = static_cast<double>(h[element(j * n + j)]) * static_cast<double>(g[element(k * r + k)]);
        if (wide * gradient <= wide * wide * curvature) continue;
        value = -value;
        for (int64_t l = 0; l < r; ++l)
          image[element(j * r + l)] += 2 * static_cast<double>(value) * static_cast<double>(g[element(k * r + l)]);
        ++flips;
      }
    const std::string name = "coupled_sign_descent of " + std::to_string(n) + " rows";
    if (n > 1) CHECK(flips > n / 2, name + ": there are signs to flip");
    const std::vector<float> result = for_any_threads(x, name, [&](ThreadPool& pool, std::vector<float>& out) {
      run_operation(pool, "coupled_sign_descent", {matrix(g, r, r), matrix(h, n, n), matrix(moments, n, r)},
                    {matrix(out, n, r)}, {});
    });
    for (int64_t i = 0; i < n * r; ++i) CHECK(result[element(i)] == expected[element(i)], name);
  }
}

TEST("multiply and row_dots: by elements, rows and columns") {
  Random random(5);
  const int64_t m = 7, n = 37;
  const std::vector<float> x = random.normals(m * n), y = random.normals(m * n);
  for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{{m, n}, {1, n}, {m, 1}, {1, 1}}) {
    const std::vector<float> out =
        for_any_threads(std::vector<float>(x.size()), "multiply", [&](ThreadPool& pool, std::vector<float>& result) {
          run_operation(pool, "multiply", {matrix(x, m, n), matrix(y, rows, cols)}, {matrix(result, m, n)}, {});
        });
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        const int64_t at = (rows == 1 ? 0 : i) * cols + (cols == 1 ? 0 : j);
        CHECK(out[element(i * n + j)] == x[element(i * n + j)] * y[element(at)], "multiply");
      }
  }
  const std::vector<float> dots =
      for_any_threads(std::vector<float>(element(m)), "row_dots", [&](ThreadPool& pool, std::vector<float>& result) {
        run_operation(pool, "row_dots", {matrix(x, m, n), matrix(y, m, n)}, {matrix(result, 1, m)}, {});
      });
  for (int64_t i = 0; i < m; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < n; ++j)
      sum += static_cast<double>(x[element(i * n + j)]) * static_cast<double>(y[element(i * n + j)]);
    CHECK(std::abs(static_cast<double>(dots[element(i)]) - sum) < 1e-5, "row_dots");
  }
}

}  // namespace
}  // namespace mbok::test
