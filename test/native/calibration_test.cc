#include <algorithm>

#include "converted.h"
#include "gradient_check.h"
#include "kernels/compensated_signs/compensated_signs.h"
#include "kernels/dot/dot.h"
#include "kernels/tile_product/tile_product.h"

namespace mbok::test {
namespace {

// H = X̃ᵀX̃ / N of inputs with a few outlier channels and one that is always zero.
struct Moments {
  int64_t n;
  std::vector<float> h;

  Moments(Random& random, int64_t size, int64_t dead = -1) : n(size), h(element(size * size)) {
    std::vector<double> second(h.size());
    const int64_t samples = 2 * n + 5;
    for (int64_t s = 0; s < samples; ++s) {
      std::vector<double> x(element(n));
      const double common = static_cast<double>(random.normal());
      for (int64_t j = 0; j < n; ++j) {
        const double scale = j == dead ? 0.0 : j % 11 == 3 ? 6.0 : 1.0;
        x[element(j)] = scale * (static_cast<double>(random.normal()) + 0.5 * common);
      }
      for (size_t i = 0; i < x.size(); ++i)
        for (size_t j = 0; j < x.size(); ++j) second[i * x.size() + j] += x[i] * x[j] / static_cast<double>(samples);
    }
    std::copy(second.begin(), second.end(), h.begin());
  }
  Tensor tensor() const { return matrix(h, n, n); }
  double at(int64_t i, int64_t j) const { return static_cast<double>(h[element(i * n + j)]); }
  std::vector<double> damped(double damping) const {
    std::vector<double> out = to_double(h);
    double mean = 0;
    for (int64_t j = 0; j < n; ++j) mean += at(j, j) / static_cast<double>(n);
    for (int64_t j = 0; j < n; ++j) out[element(j * n + j)] += damping * mean;
    return out;
  }
};

struct Feedback {
  std::vector<float> u;
  std::vector<int32_t> order;
};

Feedback factor_of(ThreadPool& pool, const Moments& moments) {
  Feedback f{std::vector<float>(moments.h.size(), 9.0f), std::vector<int32_t>(element(moments.n))};
  run_operation(pool, "compensation_factor", {moments.tensor()}, {matrix(f.u, moments.n, moments.n), integers(f.order)},
                {0.01});
  return f;
}

void choose_signs(ThreadPool& pool, const std::vector<float>& target, const Feedback& f, Converted& c) {
  run_operation(pool, "compensated_signs",
                {matrix(target, c.m, c.n), matrix(f.u, c.n, c.n), integers(f.order), c.s_out_tensor(), c.s_in_tensor()},
                {c.bits_tensor()}, {});
}

double error_of(ThreadPool& pool, const std::vector<float>& target, const Moments& moments, const Converted& c) {
  std::vector<float> error(1);
  run_operation(pool, "calibrated_error",
                {matrix(target, c.m, c.n), moments.tensor(), c.bits_tensor(), c.s_out_tensor(), c.s_in_tensor()},
                {matrix(error, 1, 1)}, {});
  return static_cast<double>(error[0]);
}

// Returns tr(X H Yᵀ) over rows i of X and Y.
template <class X, class Y>
double form(const Moments& h, int64_t rows, X x, Y y) {
  double sum = 0;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < h.n; ++j) {
      double inner = 0;
      for (int64_t l = 0; l < h.n; ++l) inner += h.at(j, l) * y(i, l);
      sum += x(i, j) * inner;
    }
  return sum;
}

TEST("dot, tile_product: every candidate equals the reference") {
  Random random(21);
  for (const int64_t n : {1, 5, 16, 31, 33, 100}) {
    const std::vector<float> a = random.normals(n), b = random.normals(n);
    const double expected = scalar::dot(a.data(), b.data(), n);
    for_each_candidate(dot_table, [&](DotFunction* dot, const std::string& name) {
      CHECK(std::fabs(dot(a.data(), b.data(), n) - expected) < 1e-12, name);
    });
  }
  const std::vector<double> a = to_double(random.normals(kTileSize)), b = to_double(random.normals(kTileSize)),
                            c = to_double(random.normals(kTileSize));
  std::vector<double> expected = c;
  scalar::subtract_tile_product(a.data(), b.data(), expected.data());
  for_each_candidate(tile_product_table, [&](TileProductFunction* subtract, const std::string& name) {
    std::vector<double> got = c;
    subtract(a.data(), b.data(), got.data());
    for (size_t i = 0; i < got.size(); ++i) CHECK(std::fabs(got[i] - expected[i]) < 1e-12, name);
  });
  const std::vector<float> narrow = random.normals(kTileSize);
  for_each_candidate(widen_tile_table, [&](WidenTileFunction* widen, const std::string& name) {
    std::vector<double> wide(narrow.size());
    widen(narrow.data(), wide.data());
    CHECK(wide == to_double(narrow), name);
  });
}

TEST("compensate: every candidate makes the same choices for every tail") {
  Random random(22);
  for (const int64_t rows : {1, 17, 64})
    for (const int64_t cols : {1, 5, 37, 128})
      for (const int kernels : {1, 2, 3, 4, 7}) {
        const std::vector<float> w = random.normals(rows * cols), s_out = random.normals(kernels * rows),
                                 s_in = random.normals(kernels * cols);
        std::vector<float> u = random.normals(cols * cols);
        for (int64_t l = 0; l < cols; ++l) u[element(l * cols + l)] = 1 + std::fabs(u[element(l * cols + l)]);
        std::vector<float> errors(element(rows * kCompensationCols)), expected_errors = errors;
        std::vector<uint64_t> signs(element(kernels * cols)), expected_signs = signs;
        CompensationBlock block = {rows,
                                   cols,
                                   w.data(),
                                   cols,
                                   u.data(),
                                   cols,
                                   s_out.data(),
                                   rows,
                                   s_in.data(),
                                   cols,
                                   kernels,
                                   expected_errors.data(),
                                   expected_signs.data(),
                                   cols};
        for (float& value : u) value *= 0.1f;  // feedback that stays bounded
        scalar::compensate(block);
        for_each_candidate(compensate_table, [&](CompensateFunction* compensate, const std::string& name) {
          block.errors = errors.data();
          block.signs = signs.data();
          compensate(block);
          CHECK(signs == expected_signs, name);
          CHECK(errors == expected_errors, name);
        });
      }
}

TEST("calibration_target: equals its float64 definition, one and three threads alike") {
  struct Shape {
    int64_t m, n;
  };
  Random random(23);
  for (const Shape s : {Shape{1, 1}, {5, 3}, {30, 65}, {70, 130}}) {
    const Moments moments(random, s.n, s.n / 2);
    const std::vector<float> w = random.normals(s.m * s.n);
    // at n = 1 the only input is always zero and is damped by 1
    const std::vector<double> damped = s.n == 1 ? std::vector<double>{1.0} : moments.damped(0.01);
    const std::vector<float> r = random.normals(s.m * s.n);
    std::vector<float> expected;
    for (int64_t i = 0; i < s.m; ++i) {
      const auto row = r.begin() + i * s.n;
      const std::vector<double> x = solve(damped, std::vector<double>(row, row + s.n));
      for (int64_t j = 0; j < s.n; ++j)
        expected.push_back(static_cast<float>(static_cast<double>(w[element(i * s.n + j)]) + x[element(j)]));
    }
    const std::string name = std::to_string(s.m) + " x " + std::to_string(s.n);
    Feedback f = factor_of(ThreadPool::shared(), moments);
    const auto aim = [&](ThreadPool& pool, std::vector<float>& out) {
      run_operation(pool, "calibration_target",
                    {matrix(w, s.m, s.n), matrix(r, s.m, s.n), matrix(f.u, s.n, s.n), integers(f.order)},
                    {matrix(out, s.m, s.n)}, {});
    };
    const auto got = same_for_any_threads({std::vector<float>(w.size())}, name,
                                          [&](ThreadPool& pool, auto& out) { aim(pool, out[0]); });
    check_close(got[0], expected, 1e-5, name);
    f.order[0] = static_cast<int32_t>(s.n);
    std::vector<float> out(w.size());
    CHECK(throws("MBOK_INVALID_ARGUMENT", [&] { aim(ThreadPool::shared(), out); }), name + ", no such column");
  }
}

TEST("relative_rows: divides rows by the root mean square of others") {
  Random random(31);
  const int64_t rows = 37, n = 50, width = 33;
  const std::vector<float> x = random.normals(rows * n);
  std::vector<float> h = random.normals(rows * width), expected;
  std::fill(h.begin(), h.begin() + width, 0.0f);
  for (int64_t i = 0; i < rows; ++i) {
    double squares = 0;
    for (int64_t j = 0; j < width; ++j) squares += std::pow(static_cast<double>(h[element(i * width + j)]), 2);
    const double factor = i == 0 ? 1 : 1 / std::sqrt(squares / static_cast<double>(width));
    for (int64_t j = 0; j < n; ++j)
      expected.push_back(static_cast<float>(factor * static_cast<double>(x[element(i * n + j)])));
  }
  const auto got =
      same_for_any_threads({std::vector<float>(x.size())}, "relative_rows", [&](ThreadPool& pool, auto& out) {
        run_operation(pool, "relative_rows", {matrix(x, rows, n), matrix(h, rows, width)}, {matrix(out[0], rows, n)},
                      {});
      });
  check_close(got[0], expected, 1e-6, "relative_rows");
}

TEST("before_rms_norm: gives what a norm makes a small error of, and lets silenced channels go") {
  Random random(33);
  const int64_t rows = 41, n = 70;
  const double eps = 1e-3, offset = 1;
  std::vector<float> z = random.normals(rows * n), y = random.normals(rows * n), w = random.normals(n), expected;
  w[0] = w[1] = -1;  // gains of 0
  std::fill(y.begin(), y.begin() + n, 0.0f);
  for (int64_t i = 0; i < rows; ++i) {
    z[element(i * n)] = 0;
    double squares = 0;
    for (int64_t j = 0; j < n; ++j) squares += std::pow(static_cast<double>(y[element(i * n + j)]), 2);
    const double rho = std::sqrt(squares / static_cast<double>(n) + eps);
    std::vector<double> u(element(n));
    double along = 0;
    for (int64_t j = 0; j < n; ++j) {
      const double g = offset + static_cast<double>(w[element(j)]), error = static_cast<double>(z[element(i * n + j)]);
      u[element(j)] = j < 2 ? 0 : g * error / (g * g + error * error);
      along += u[element(j)] * static_cast<double>(y[element(i * n + j)]) / rho / static_cast<double>(n);
    }
    for (int64_t j = 0; j < n; ++j)
      expected.push_back(static_cast<float>(rho * u[element(j)] - along * static_cast<double>(y[element(i * n + j)])));
  }
  const auto got =
      same_for_any_threads({std::vector<float>(y.size())}, "before_rms_norm", [&](ThreadPool& pool, auto& out) {
        run_operation(pool, "before_rms_norm", {matrix(z, rows, n), matrix(y, rows, n), matrix(w, 1, n)},
                      {matrix(out[0], rows, n)}, {eps, offset});
      });
  check_close(got[0], expected, 1e-6, "before_rms_norm");

  ThreadPool& pool = ThreadPool::shared();
  // if gains are far above an error that some y has, norm(y + dy) has it
  std::vector<float> dy(y.size()), before(y.size()), after(y.size());
  for (float& weight : w) weight = 4 + std::abs(weight);
  const auto norm = [&](const std::vector<float>& x, std::vector<float>& out) {
    run_operation(pool, "rms_norm", {matrix(x, rows, n), matrix(w, 1, n)}, {matrix(out, rows, n)}, {eps, offset});
  };
  std::vector<float> other = y;
  for (size_t i = 0; i < y.size(); ++i) other[i] += 1e-3f * z[i];
  norm(y, before);
  norm(other, after);
  double missed = 0, wanted = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    z[i] = after[i] - before[i];
    wanted += std::pow(static_cast<double>(z[i]), 2);
  }
  run_operation(pool, "before_rms_norm", {matrix(z, rows, n), matrix(y, rows, n), matrix(w, 1, n)},
                {matrix(dy, rows, n)}, {eps, offset});
  for (size_t i = 0; i < y.size(); ++i) other[i] = y[i] + dy[i];
  std::vector<float> reached(y.size());
  norm(other, reached);
  for (size_t i = 0; i < y.size(); ++i) missed += std::pow(static_cast<double>(reached[i] - after[i]), 2);
  CHECK(std::sqrt(missed / wanted) < 0.01, "norm(y + dy)");
}

TEST("scale_columns: scales by powers of the inputs' relative size") {
  Random random(32);
  const int64_t m = 37, n = 65;
  Moments moments(random, n, 5);
  const std::vector<float> x = random.normals(m * n);
  double mean = 0;
  for (int64_t j = 0; j < n; ++j) mean += moments.at(j, j) / static_cast<double>(n);
  std::vector<float> expected;
  for (int64_t i = 0; i < m * n; ++i)
    expected.push_back(static_cast<float>(static_cast<double>(x[element(i)]) *
                                          std::pow(moments.at(i % n, i % n) / mean + 1e-6, 0.25)));
  const auto scaled = [&](ThreadPool& pool, std::vector<float>& out) {
    run_operation(pool, "scale_columns", {matrix(x, m, n), moments.tensor()}, {matrix(out, m, n)}, {0.25});
  };
  const auto got = same_for_any_threads({std::vector<float>(x.size())}, "scale_columns",
                                        [&](ThreadPool& pool, auto& out) { scaled(pool, out[0]); });
  check_close(got[0], expected, 1e-6, "scale_columns");
  std::fill(moments.h.begin(), moments.h.end(), 0.0f);
  std::vector<float> same(x.size());
  scaled(ThreadPool::shared(), same);
  CHECK(same == x, "all zero");
}

TEST("compensation_factor: U is upper triangular, UᵀU inverts the permuted damped H") {
  Random random(24);
  for (const int64_t n : {1, 7, 64, 65, 150}) {
    const Moments moments(random, n, n - 1);
    const Feedback f = factor_of(ThreadPool::shared(), moments);
    const std::vector<double> damped = n == 1 ? std::vector<double>{1.0} : moments.damped(0.01);
    const std::string name = "n = " + std::to_string(n);
    double worst = 0;
    for (int64_t i = 0; i < n; ++i) {
      if (i > 0)
        CHECK(moments.at(f.order[element(i - 1)], f.order[element(i - 1)]) >=
                  moments.at(f.order[element(i)], f.order[element(i)]),
              name + " order");
      for (int64_t j = 0; j < i; ++j) CHECK(f.u[element(i * n + j)] == 0, name + " lower half");
      // row i of Uᵀ(U Ĥ)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (int64_t a = 0; a <= i; ++a) {
          double inner = 0;
          for (int64_t b = a; b < n; ++b)
            inner += static_cast<double>(f.u[element(a * n + b)]) *
                     damped[element(f.order[element(b)] * n + f.order[element(j)])];
          sum += static_cast<double>(f.u[element(a * n + i)]) * inner;
        }
        worst = std::max(worst, std::fabs(sum - (i == j ? 1.0 : 0.0)));
      }
    }
    CHECK(worst < 1e-4, name + ": " + std::to_string(worst));
    CHECK(factor_of(three_threads(), moments).u == f.u, name + ", 3 threads");
  }
}

TEST("compensated_signs: equals error feedback column by column in float64") {
  Random random(25);
  for (const int64_t n : {40, 130, 300})
    for (const int kernels : {1, 2, 3}) {
      const int64_t m = 70;
      const Moments moments(random, n, 5);
      const std::vector<float> w = random.normals(m * n);
      Converted c = extract(ThreadPool::shared(), w, m, n, kernels);
      const double plain = error_of(ThreadPool::shared(), w, moments, c);
      const Feedback f = factor_of(ThreadPool::shared(), moments);
      choose_signs(ThreadPool::shared(), w, f, c);
      int64_t different = 0;
      for (int64_t i = 0; i < m; ++i) {
        std::vector<double> rest(element(n));
        for (int64_t p = 0; p < n; ++p) rest[element(p)] = static_cast<double>(w[element(i * n + f.order[element(p)])]);
        bool same = true;
        for (int64_t p = 0; p < n; ++p) {
          const int64_t j = f.order[element(p)];
          double best = INFINITY, level = 0;
          for (int code = 0; code < 1 << kernels; ++code) {
            double sum = 0;
            for (int k = 0; k < kernels; ++k) sum += ((code >> k) & 1 ? 1 : -1) * c.out(k, i) * c.in(k, j);
            if (std::fabs(sum - rest[element(p)]) < best) {
              best = std::fabs(sum - rest[element(p)]);
              level = sum;
            }
          }
          same = same && std::fabs(level - c.value(i, j)) < 1e-5;
          const double error = (rest[element(p)] - level) / static_cast<double>(f.u[element(p * n + p)]);
          for (int64_t l = p + 1; l < n; ++l) rest[element(l)] -= error * static_cast<double>(f.u[element(p * n + l)]);
        }
        different += !same;
      }
      const std::string name = "n = " + std::to_string(n) + ", K = " + std::to_string(kernels);
      // a choice within rounding of a tie may differ and changes the remainder of its row
      CHECK(different <= 1, name + ": " + std::to_string(different) + " rows differ");
      CHECK(error_of(ThreadPool::shared(), w, moments, c) < plain, name + ": compensation must lower the error");
      for (int64_t i = 0; i < kernels * m; ++i)
        CHECK(n % 64 == 0 || (c.bits[element((i + 1) * words_per_row(n) - 1)] >> (n % 64)) == 0, "padding");
      Converted again = c;
      std::fill(again.bits.begin(), again.bits.end(), ~0ull);
      choose_signs(three_threads(), w, f, again);
      CHECK(again.bits == c.bits, name + ", 3 threads");
    }
}

TEST("compensated_signs: without inputs every weight keeps its plain choice; a bad order is refused") {
  Random random(26);
  const int64_t m = 30, n = 140;
  Moments nothing(random, n);
  std::fill(nothing.h.begin(), nothing.h.end(), 0.0f);
  const std::vector<float> w = random.normals(m * n);
  const Converted plain = extract(ThreadPool::shared(), w, m, n, 1);
  Converted c = plain;
  Feedback f = factor_of(ThreadPool::shared(), nothing);
  choose_signs(ThreadPool::shared(), w, f, c);
  CHECK(c.bits == plain.bits, "signs");
  f.order[3] = f.order[4];
  CHECK(throws("MBOK_INVALID_ARGUMENT", [&] { choose_signs(ThreadPool::shared(), w, f, c); }), "a column twice");
  f.order[3] = -1;
  CHECK(throws("MBOK_INVALID_ARGUMENT", [&] { choose_signs(ThreadPool::shared(), w, f, c); }), "no column");
  nothing.h[0] = NAN;
  CHECK(throws("MBOK_NON_FINITE", [&] { factor_of(ThreadPool::shared(), nothing); }), "NaN in H");
}

TEST("compensated_signs: a wide matrix, whose columns after a block are cut in other ways as they get fewer") {
  Random random(27);
  const int64_t n = 2240;
  Converted c = Converted::random(random, 3, n, 1);
  Feedback f{std::vector<float>(element(n * n)), std::vector<int32_t>(element(n))};
  for (int64_t j = 0; j < n; ++j) {
    f.u[element(j * n + j)] = 1.0f;
    f.order[element(j)] = static_cast<int32_t>(j);
  }
  const std::vector<float> target = random.normals(3 * n);
  choose_signs(one_thread(), target, f, c);
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t j = 0; j < n; ++j)
      CHECK((target[element(i * n + j)] < 0) == (c.value(i, j) < 0), "nothing depends on a column: its own sign");
}

TEST("calibrated_error: equals its float64 definition") {
  Random random(27);
  const int64_t m = 300, n = 70;
  const Moments moments(random, n, 5);
  const std::vector<float> w = random.normals(m * n);
  const Converted c = extract(ThreadPool::shared(), w, m, n, 2);
  const auto own = [&](int64_t i, int64_t j) { return static_cast<double>(w[element(i * n + j)]); };
  const auto rest = [&](int64_t i, int64_t j) { return own(i, j) - c.value(i, j); };
  const double expected = std::sqrt(form(moments, m, rest, rest) / form(moments, m, own, own));
  const double got = error_of(three_threads(), w, moments, c);
  CHECK(std::fabs(got / expected - 1) < 1e-5, std::to_string(got) + " for " + std::to_string(expected));
  CHECK(got == error_of(ThreadPool::shared(), w, moments, c), "threads");
}

TEST("solve_output_scales: solves the weighted least squares of every row") {
  Random random(28);
  for (const int kernels : {1, 2, 3, 6}) {
    const int64_t m = 270, n = 70;
    const Moments moments(random, n, 5);
    const std::vector<float> w = random.normals(m * n);
    Converted c = extract(ThreadPool::shared(), w, m, n, kernels);
    std::vector<float> expected(c.s_out.size());
    for (int64_t i = 0; i < m; ++i) {
      const size_t count = element(kernels);
      std::vector<double> gram(count * count), moment(count);
      for (int k = 0; k < kernels; ++k) {
        const auto p = [&](int l) { return [&c, l, i](int64_t, int64_t j) { return c.sign(l, i, j) * c.in(l, j); }; };
        for (int l = 0; l < kernels; ++l) gram[element(k * kernels + l)] = form(moments, 1, p(k), p(l));
        moment[element(k)] =
            form(moments, 1, p(k), [&](int64_t, int64_t j) { return static_cast<double>(w[element(i * n + j)]); });
      }
      const std::vector<double> x = solve_ridge(gram, moment, 1e-5);
      for (int k = 0; k < kernels; ++k) expected[element(k * m + i)] = static_cast<float>(x[element(k)]);
    }
    const auto got = same_for_any_threads({c.s_out}, "solve_output_scales", [&](ThreadPool& pool, auto& out) {
      run_operation(pool, "solve_output_scales", {matrix(w, m, n), moments.tensor(), c.bits_tensor(), c.s_in_tensor()},
                    {matrix(out[0], kernels, m)}, {});
    });
    check_close(got[0], expected, 5e-5, "K = " + std::to_string(kernels));
  }
}

TEST("descend_input_scales: equals one column after another in float64 and lowers the error") {
  Random random(29);
  for (const int kernels : {1, 2, 3}) {
    const int64_t m = 90, n = 70;
    const Moments moments(random, n, 5);
    const std::vector<float> w = random.normals(m * n);
    Converted c = extract(ThreadPool::shared(), w, m, n, kernels);
    std::vector<double> rest(w.size()), s_in = to_double(c.s_in);
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j)
        rest[element(i * n + j)] = static_cast<double>(w[element(i * n + j)]) - c.value(i, j);
    for (int64_t j = 0; j < n; ++j) {
      if (moments.at(j, j) == 0) continue;
      const size_t count = element(kernels);
      std::vector<double> gram(count * count), moment(count);
      const auto a = [&](int k, int64_t i) { return c.sign(k, i, j) * c.out(k, i); };
      for (int64_t i = 0; i < m; ++i) {
        double r = 0;
        for (int64_t l = 0; l < n; ++l) r += rest[element(i * n + l)] * moments.at(l, j) / moments.at(j, j);
        for (int k = 0; k < kernels; ++k) {
          moment[element(k)] += a(k, i) * r;
          for (int l = 0; l < kernels; ++l) gram[element(k * kernels + l)] += a(k, i) * a(l, i);
        }
      }
      const std::vector<double> d = solve_ridge(gram, moment, 1e-6);
      for (int k = 0; k < kernels; ++k) {
        s_in[element(k * n + j)] += d[element(k)];
        for (int64_t i = 0; i < m; ++i) rest[element(i * n + j)] -= d[element(k)] * a(k, i);
      }
    }
    const double before = error_of(ThreadPool::shared(), w, moments, c);
    const auto got = same_for_any_threads({c.s_in}, "descend_input_scales", [&](ThreadPool& pool, auto& out) {
      run_operation(pool, "descend_input_scales",
                    {matrix(w, m, n), moments.tensor(), c.bits_tensor(), c.s_out_tensor()},
                    {matrix(out[0], kernels, n)}, {});
    });
    const std::string name = "K = " + std::to_string(kernels);
    check_close(got[0], {s_in.begin(), s_in.end()}, 1e-4, name);
    c.s_in = got[0];
    CHECK(error_of(ThreadPool::shared(), w, moments, c) < before, name);
  }
}

}  // namespace
}  // namespace mbok::test
