// The native Boolean layer (BOLD): forward, both kinds of upstream signal, activation.
#include "kernels/boolean_activation/boolean_activation.h"
#include "run.h"
#include "operations/boolean_product.h"
#include "test.h"

namespace mbok {
namespace {

using test::bit_matrix;
using test::matrix;
using test::Random;
using test::one_thread;
using test::run_operation;
using test::three_threads;
using Shape = test::LinearShape;

const Shape kShapes[] = {{1, 1, 1}, {3, 5, 63}, {4, 9, 64}, {9, 30, 70}, {66, 70, 129}, {130, 67, 513}, {5, 12, 9000}};

double sign(const std::vector<uint64_t>& bits, int64_t cols, int64_t row, int64_t col) {
  return bits[static_cast<size_t>(row * words_per_row(cols) + col / 64)] >> (col % 64) & 1 ? 1 : -1;
}

// C[m, n] = start + factor·Σ_d a(i, d)·b(d, j)
template <class A, class B>
std::vector<float> reference(int64_t m, int64_t n, int64_t depth, double start, double factor, A a, B b) {
  std::vector<float> c;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t d = 0; d < depth; ++d) sum += a(i, d) * b(d, j);
      c.push_back(static_cast<float>(start + factor * sum));
    }
  return c;
}

// Runs the operation on 1 and on 3 threads over an output filled with `start`.
std::vector<float> run_twice(const char* name, const std::vector<Tensor>& inputs, int64_t rows, int64_t cols,
                             float start, const std::vector<double>& attributes) {
  std::vector<float> y(static_cast<size_t>(rows * cols), start), threaded = y;
  run_operation(one_thread(), name, inputs, {matrix(y, rows, cols)}, attributes);
  run_operation(three_threads(), name, inputs, {matrix(threaded, rows, cols)}, attributes);
  CHECK(y == threaded, std::string(name) + ": 1 and 3 threads differ");
  return y;
}

TEST("Boolean product: every candidate gives scalar's integers") {
  Random random(1);
  for (const int64_t depth : {1, 63, 64, 65, 200, 256, 511, 512, 513, 8200})
    for (const int64_t rows : {1, 2, 3, 4, 5, 9})
      for (const int64_t cols : {1, 3, 8, 11, 31, 32, 33, 67})
        for (const bool accumulate : {false, true}) {
          const std::vector<uint64_t> x = random.bits(rows, depth), columns = random.bits(cols, depth);
          std::vector<uint64_t> w(static_cast<size_t>(packed_words(cols, words_per_row(depth))));
          pack_bits(one_thread(), columns.data(), cols, depth, w.data());
          const std::vector<float> bias = random.normals(cols), start = random.normals(rows * (cols + 2));
          std::vector<float> expected = start;
          BooleanProduct p = {x.data(),
                              w.data(),
                              rows,
                              cols,
                              words_per_row(depth),
                              depth,
                              0.37f,
                              cols % 2 == 1 ? bias.data() : nullptr,
                              expected.data(),
                              cols + 2,
                              accumulate};
          scalar::boolean_product(p);
          for (const auto& candidate : boolean_product_table.candidates()) {
            if (!candidate.supported()) continue;
            std::vector<float> actual = start;
            p.y = actual.data();
            candidate.function(p);
            CHECK(actual == expected, std::string(candidate.name) + " depth " + std::to_string(depth));
          }
        }
}

TEST("pack columns: word i of column c at [i][c], zeros beyond the last") {
  Random random(3);
  for (const int64_t count : {1, 5, 8})
    for (const int64_t words : {1, 7, 8, 9, 33}) {
      std::vector<uint64_t> rows(static_cast<size_t>(count * words));
      for (uint64_t& word : rows) word = random.next();
      for (const auto& candidate : pack_columns_table.candidates()) {
        if (!candidate.supported()) continue;
        std::vector<uint64_t> packed(static_cast<size_t>(words * 8) + 1, 77);
        candidate.function(rows.data(), count, words, packed.data());
        bool right = packed.back() == 77;
        for (int64_t i = 0; i < words * 8; ++i)
          right = right && packed[static_cast<size_t>(i)] ==
                               (i % 8 < count ? rows[static_cast<size_t>(i % 8 * words + i / 8)] : 0);
        CHECK(right, std::string(candidate.name) + " " + std::to_string(count) + " x " + std::to_string(words));
      }
    }
}

TEST("Boolean linear: y = x w' + bias, exactly") {
  Random random(2);
  for (const Shape& s : kShapes) {
    const std::vector<uint64_t> x = random.bits(s.rows, s.n), w = random.bits(s.m, s.n);
    const auto a = [&](int64_t r, int64_t j) { return sign(x, s.n, r, j); };
    const auto b = [&](int64_t j, int64_t i) { return sign(w, s.n, i, j); };
    const Tensor X = bit_matrix(x, s.rows, s.n), W = bit_matrix(w, s.m, s.n);
    const std::vector<float> y = run_twice("boolean_linear", {X, W}, s.rows, s.m, 7, {1});
    CHECK(y == reference(s.rows, s.m, s.n, 0, 1, a, b), s.name());
    const std::vector<float> bias(static_cast<size_t>(s.m), 0.5f);
    const std::vector<float> biased = run_twice("boolean_linear", {X, W, matrix(bias, 1, s.m)}, s.rows, s.m, 7, {1});
    CHECK(biased == reference(s.rows, s.m, s.n, 0.5, 1, a, b), s.name());
  }
}

TEST("Boolean linear, backward: real and Boolean signals to inputs and weights") {
  Random random(3);
  for (const Shape& s : kShapes) {
    const std::vector<uint64_t> x = random.bits(s.rows, s.n), w = random.bits(s.m, s.n), zb = random.bits(s.rows, s.m);
    const std::vector<float> zr = random.normals(s.rows * s.m);
    const Tensor X = bit_matrix(x, s.rows, s.n), W = bit_matrix(w, s.m, s.n);
    const Tensor Zb = bit_matrix(zb, s.rows, s.m), Zr = matrix(zr, s.rows, s.m);
    const auto real = [&](int64_t r, int64_t i) { return static_cast<double>(zr[static_cast<size_t>(r * s.m + i)]); };
    const auto boolean = [&](int64_t r, int64_t i) { return sign(zb, s.m, r, i); };
    const auto weight = [&](int64_t i, int64_t j) { return sign(w, s.n, i, j); };
    const auto input = [&](int64_t r, int64_t j) { return sign(x, s.n, r, j); };

    const std::vector<float> dx = run_twice("boolean_linear_gradient_input", {Zr, W}, s.rows, s.n, 9, {0.25, 0});
    CHECK(test::relative_error(dx, reference(s.rows, s.n, s.m, 0, 0.25, real, weight)) < 2e-6, s.name());
    const std::vector<float> coarse = run_twice("boolean_linear_gradient_input", {Zr, W}, s.rows, s.n, 9, {0.25, 1});
    CHECK(test::relative_error(coarse, reference(s.rows, s.n, s.m, 0, 0.25, real, weight)) < 6e-3, s.name());
    const std::vector<float> dxb = run_twice("boolean_linear_gradient_input_boolean", {Zb, W}, s.rows, s.n, 9, {0.25});
    CHECK(dxb == reference(s.rows, s.n, s.m, 0, 0.25, boolean, weight), s.name());

    const auto real_t = [&](int64_t i, int64_t r) { return real(r, i); };
    const auto boolean_t = [&](int64_t i, int64_t r) { return boolean(r, i); };
    const std::vector<float> q = run_twice("boolean_linear_signal", {Zr, X}, s.m, s.n, 2, {0});
    CHECK(test::relative_error(q, reference(s.m, s.n, s.rows, 2, 1, real_t, input)) < 2e-6, s.name());
    const std::vector<float> qb = run_twice("boolean_linear_signal_boolean", {Zb, X}, s.m, s.n, 2, {});
    CHECK(qb == reference(s.m, s.n, s.rows, 2, 1, boolean_t, input), s.name());
  }
}

TEST("Boolean activation: bits of s ≥ τ, and 1 − tanh² on the way back") {
  Random random(4);
  for (const int64_t cols : {1, 7, 63, 64, 65, 130, 515})
    for (const double threshold : {0.0, -0.75}) {
      const int64_t rows = 5;
      std::vector<float> s = random.normals(rows * cols), dy = random.normals(rows * cols);
      s[0] = static_cast<float>(threshold);
      if (cols > 7) s[3] = NAN, s[8] = -0.0f;
      std::vector<uint64_t> expected(static_cast<size_t>(rows * words_per_row(cols)));
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t j = 0; j < cols; ++j)
          if (s[static_cast<size_t>(r * cols + j)] >= static_cast<float>(threshold))
            expected[static_cast<size_t>(r * words_per_row(cols) + j / 64)] |= uint64_t{1} << (j % 64);
      std::vector<uint64_t> bits(expected.size(), ~uint64_t{0});
      const Tensor S = matrix(s, rows, cols);
      run_operation(three_threads(), "boolean_activation", {S}, {bit_matrix(bits, rows, cols)},
                    {threshold, static_cast<double>(cols)});
      CHECK(bits == expected, "the definition, padding zero");
      for (const auto& candidate : boolean_activation_table.candidates()) {
        if (!candidate.supported()) continue;
        std::vector<uint64_t> row(static_cast<size_t>(words_per_row(cols)), ~uint64_t{0});
        candidate.function(s.data(), static_cast<float>(threshold), row.data(), cols);
        CHECK(std::equal(row.begin(), row.end(), expected.begin()), candidate.name);
      }

      if (cols > 7) s[3] = 1e30f, s[9] = -60.0f;
      const double fan_in = 3, alpha = 3.14159265358979323846 / (2 * std::sqrt(3 * fan_in));
      std::vector<float> expected_ds;
      for (size_t i = 0; i < s.size(); ++i) {
        const double c = std::cosh(std::min(500.0, std::fabs(alpha * (s[i] - threshold))));
        expected_ds.push_back(static_cast<float>(dy[i] / (c * c)));  // 1 − tanh² = 1 / cosh²
      }
      const std::vector<float> ds =
          run_twice("boolean_activation_gradient", {matrix(dy, rows, cols), S}, rows, cols, 0, {threshold, fan_in});
      CHECK(test::relative_error(ds, expected_ds) < 1e-6, "the derivative");
      for (const auto& candidate : boolean_activation_gradient_table.candidates()) {
        if (!candidate.supported()) continue;
        std::vector<float> actual(ds.size());
        candidate.function(dy.data(), s.data(), static_cast<float>(threshold), static_cast<float>(alpha), actual.data(),
                           static_cast<int64_t>(ds.size()));
        CHECK(test::relative_error(actual, expected_ds) < 1e-6, candidate.name);
      }
    }
}

TEST("signs: one kernel's bits are those of latent ≥ 0, the others stay") {
  Random random(5);
  const int64_t m = 7, n = 100, words = words_per_row(n);
  std::vector<float> latent = random.normals(m * n);
  latent[0] = 0;
  latent[1] = -0.0f;
  const std::vector<uint64_t> before = random.bits(3 * m, n);
  std::vector<uint64_t> bits = before;
  run_operation(three_threads(), "signs", {matrix(latent, m, n)}, {bit_matrix(bits, 3 * m, n)}, {1});
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j)
      CHECK((sign(bits, n, m + i, j) > 0) == (latent[static_cast<size_t>(i * n + j)] >= 0), "kernel 1");
  for (int64_t w = 0; w < 3 * m * words; ++w)
    if (w < m * words || w >= 2 * m * words)
      CHECK(bits[static_cast<size_t>(w)] == before[static_cast<size_t>(w)], "kernels 0 and 2");
}

}  // namespace
}  // namespace mbok
