#include <algorithm>

#include "converted.h"
#include "gradient_check.h"
#include "kernels/refit/refit.h"

namespace mbok::test {
namespace {

constexpr int64_t kLengths[] = {1, 7, 16, 63, 64, 65, 130, 205};

template <class Word>
CodeRow<Word> row_of(Converted& c, int64_t i, float* s_out) {
  for (int k = 0; k < c.kernels; ++k) s_out[k] = c.s_out[element(k * c.m + i)];
  const int64_t words = words_per_row(c.n);
  return {c.bits.data() + i * words, c.m * words, s_out, c.s_in.data(), c.n, c.kernels};
}

void refit(ThreadPool& pool, const std::vector<float>& w, Converted& c, int rounds) {
  c.residual.assign(1, -1.0f);
  run_operation(pool, "refit", {matrix(w, c.m, c.n)},
                {c.bits_tensor(), c.s_out_tensor(), c.s_in_tensor(), matrix(c.residual, 1, 1)},
                {static_cast<double>(rounds)});
}

// The definition, in float64.
struct Reference {
  int64_t m, n;
  int kernels;
  std::vector<double> w, b, s_out, s_in;

  Reference(const std::vector<float>& weights, const Converted& c)
      : m(c.m), n(c.n), kernels(c.kernels), w(to_double(weights)), s_out(to_double(c.s_out)), s_in(to_double(c.s_in)) {
    for (int k = 0; k < kernels; ++k)
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) b.push_back(c.sign(k, i, j));
  }
  double& sign(int k, int64_t i, int64_t j) { return b[element((k * m + i) * n + j)]; }

  // Least squares along rows (or, swapped, columns).
  void solve_scales(bool rows) {
    const int64_t systems = rows ? m : n, length = rows ? n : m;
    std::vector<double>&target = rows ? s_out : s_in, &other = rows ? s_in : s_out;
    for (int64_t i = 0; i < systems; ++i) {
      const size_t count = element(kernels);
      std::vector<double> gram(count * count), moment(count);
      for (int64_t j = 0; j < length; ++j)
        for (int k = 0; k < kernels; ++k) {
          const auto p = [&](int l) { return (rows ? sign(l, i, j) : sign(l, j, i)) * other[element(l * length + j)]; };
          for (int l = 0; l < kernels; ++l) gram[element(k * kernels + l)] += p(k) * p(l);
          moment[element(k)] += p(k) * w[element(rows ? i * n + j : j * n + i)];
        }
      const std::vector<double> x = solve_ridge(gram, moment, 1e-6);
      for (int k = 0; k < kernels; ++k) target[element(k * systems + i)] = x[element(k)];
    }
  }

  void choose_signs() {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double best = INFINITY;
        int chosen = 0;
        for (int c = 0; c < 1 << kernels; ++c) {
          double level = 0;
          for (int k = 0; k < kernels; ++k)
            level += ((c >> k) & 1 ? 1 : -1) * s_out[element(k * m + i)] * s_in[element(k * n + j)];
          const double distance = std::fabs(level - w[element(i * n + j)]);
          if (distance < best) {
            best = distance;
            chosen = c;
          }
        }
        for (int k = 0; k < kernels; ++k) sign(k, i, j) = (chosen >> k) & 1 ? 1 : -1;
      }
  }
};

TEST("nearest_levels: every candidate chooses what the reference chooses, and nothing is nearer") {
  Random random(11);
  for (const int64_t n : kLengths)
    for (int kernels = 1; kernels <= 8; ++kernels) {
      Converted c = Converted::random(random, 1, n, kernels);
      std::vector<float> w = random.normals(n);
      w[0] = 0;
      float s_out[8];
      scalar::nearest_levels(w.data(), row_of<uint64_t>(c, 0, s_out), n);
      for (int64_t j = 0; j < n; ++j) {
        const double value = static_cast<double>(w[element(j)]);
        double best = INFINITY;
        for (int code = 0; code < 1 << kernels; ++code) {
          double level = 0;
          for (int k = 0; k < kernels; ++k) level += ((code >> k) & 1 ? 1 : -1) * c.out(k, 0) * c.in(k, j);
          best = std::min(best, std::fabs(level - value));
        }
        CHECK(std::fabs(c.value(0, j) - value) < best + 1e-5, "not the nearest level");
      }
      const std::vector<uint64_t> expected = c.bits;
      for_each_candidate(nearest_levels_table, [&](NearestLevelsFunction* choose, const std::string& name) {
        std::fill(c.bits.begin(), c.bits.end(), ~0ull);
        choose(w.data(), row_of<uint64_t>(c, 0, s_out), n);
        CHECK(c.bits == expected, name + ", K = " + std::to_string(kernels) + ", n = " + std::to_string(n));
      });
    }
}

TEST("row_sums, column_sums, residual_row, design_row: every candidate equals the reference") {
  Random random(12);
  for (const int64_t n : kLengths)
    for (int kernels = 1; kernels <= 8; ++kernels) {
      const int64_t m = 5, words = words_per_row(n);
      Converted c = Converted::random(random, m, n, kernels);
      const std::vector<float> w = random.normals(m * n);
      const size_t squares = element(kernels * kernels), count = element(kernels);
      float s_out[8];
      const auto row = row_of<const uint64_t>(c, 2, s_out);
      const float* own = w.data() + 2 * n;
      const auto same = [&](const std::vector<double>& a, const std::vector<double>& b, const std::string& name) {
        for (size_t i = 0; i < a.size(); ++i) CHECK(std::fabs(a[i] - b[i]) < 1e-10 * static_cast<double>(m * n), name);
      };

      std::vector<double> gram(squares), moment(count);
      scalar::row_sums(own, row, n, gram.data(), moment.data());
      for_each_candidate(row_sums_table, [&](RowSumsFunction* sums, const std::string& name) {
        std::vector<double> own_gram(squares, 5.0), own_moment(count, 5.0);
        sums(own, row, n, own_gram.data(), own_moment.data());
        same(own_gram, gram, name);
        same(own_moment, moment, name);
      });

      const int64_t first = (words - 1) * 64, cols = n - first;
      const CodeStrip strip = {c.bits.data() + words - 1, m * words, words, c.s_out.data(), m, kernels};
      std::vector<double> grams(squares * 64, 1.0), moments(count * 64, 1.0);
      const std::vector<double> start_grams = grams, start_moments = moments;
      scalar::column_sums(w.data() + first, n, m, strip, cols, grams.data(), moments.data());
      for_each_candidate(column_sums_table, [&](ColumnSumsFunction* sums, const std::string& name) {
        std::vector<double> own_grams = start_grams, own_moments = start_moments;
        sums(w.data() + first, n, m, strip, cols, own_grams.data(), own_moments.data());
        for (int64_t j = 0; j < cols; ++j)
          for (size_t k = 0; k < count; ++k) {
            const auto near = [&](const std::vector<double>& a, const std::vector<double>& b, size_t at) {
              CHECK(std::fabs(a[at] - b[at]) < 1e-10, name);
            };
            near(own_moments, moments, k * 64 + element(j));
            for (size_t l = k + 1; l < count; ++l) near(own_grams, grams, (k * count + l) * 64 + element(j));
          }
      });

      std::vector<float> rest(element(n)), design(element(n));
      const double sum = scalar::residual_row(own, row, n, rest.data());
      scalar::design_row(row.bits, row.s_in, n, design.data());
      for_each_candidate(residual_row_table, [&](ResidualRowFunction* residual, const std::string& name) {
        std::vector<float> out(rest.size());
        CHECK(std::fabs(residual(own, row, n, out.data()) - sum) < 1e-10 * sum, name);
        CHECK(out == rest, name);
        CHECK(std::fabs(residual(own, row, n, nullptr) - sum) < 1e-10 * sum, name);
      });
      for_each_candidate(design_row_table, [&](DesignRowFunction* sign, const std::string& name) {
        std::vector<float> out(design.size());
        sign(row.bits, row.s_in, n, out.data());
        CHECK(out == design, name);
      });
    }
}

TEST("refit: rounds equal their float64 definition") {
  struct Shape {
    int64_t m, n;
  };
  Random random(13);
  for (const Shape s : {Shape{33, 70}, {20, 130}, {70, 64}})
    for (const int kernels : {2, 3, 4, 6}) {
      const std::vector<float> w = random.normals(s.m * s.n);
      Converted c = extract(ThreadPool::shared(), w, s.m, s.n, kernels);
      Reference expected(w, c);
      for (int round = 0; round < 3; ++round) {
        expected.solve_scales(true);
        expected.solve_scales(false);
        expected.choose_signs();
      }
      refit(ThreadPool::shared(), w, c, 3);
      const std::string name =
          "K = " + std::to_string(kernels) + ", " + std::to_string(s.m) + " x " + std::to_string(s.n);
      check_close(c.s_out, {expected.s_out.begin(), expected.s_out.end()}, 1e-4, name + " s_out");
      check_close(c.s_in, {expected.s_in.begin(), expected.s_in.end()}, 1e-4, name + " s_in");
      int64_t different = 0;
      for (int k = 0; k < kernels; ++k)
        for (int64_t i = 0; i < s.m; ++i)
          for (int64_t j = 0; j < s.n; ++j) different += c.sign(k, i, j) != expected.sign(k, i, j);
      CHECK(different == 0, name + ": " + std::to_string(different) + " signs differ");
      CHECK(std::fabs(relative_residual(w, c) - static_cast<double>(c.residual[0])) < 1e-6, name + " residual");
    }
}

TEST("refit: every round lowers the residual, none leaves everything as it is") {
  Random random(14);
  const std::vector<float> w = random.normals(50 * 90);
  const Converted start = extract(ThreadPool::shared(), w, 50, 90, 3);
  float last = start.residual[2];
  for (const int rounds : {0, 1, 2, 4, 8}) {
    Converted c = start;
    refit(ThreadPool::shared(), w, c, rounds);
    if (rounds == 0)
      CHECK(c.bits == start.bits && c.s_out == start.s_out && std::fabs(c.residual[0] - last) < 1e-6f, "no rounds");
    else
      CHECK(c.residual[0] < last, std::to_string(rounds) + " rounds");
    last = c.residual[0];
  }
}

TEST("refit: one kernel is already the optimum and stays") {
  Random random(15);
  const std::vector<float> w = random.normals(30 * 70);
  const Converted start = extract(ThreadPool::shared(), w, 30, 70, 1);
  Converted c = start;
  refit(ThreadPool::shared(), w, c, 10);
  CHECK(c.bits == start.bits && c.s_out == start.s_out && c.s_in == start.s_in, "changed");
  CHECK(std::fabs(c.residual[0] - start.residual[0]) < 1e-6f, "residual");
}

TEST("refit: one and three threads give the same bits") {
  Random random(16);
  const std::vector<float> w = random.normals(130 * 200);
  Converted first = extract(one_thread(), w, 130, 200, 3), second = first;
  refit(one_thread(), w, first, 4);
  refit(three_threads(), w, second, 4);
  CHECK(first.same_bits(second), "3 threads");
}

TEST("refit: zero, equal kernels and low rank give finite scales and clean padding") {
  Random random(17);
  const std::vector<float> zero(40 * 70);
  Converted c = extract(ThreadPool::shared(), zero, 40, 70, 3);
  refit(ThreadPool::shared(), zero, c, 3);
  CHECK(c.finite() && norm_of(c.s_out) == 0 && c.residual[0] == 0, "zero matrix");

  std::vector<float> rank_one = random.normals(40 * 70);
  const std::vector<float> u = random.normals(40), v = random.normals(70);
  for (size_t i = 0; i < 40; ++i)
    for (size_t j = 0; j < 70; ++j) rank_one[i * 70 + j] = u[i] * v[j];
  c = extract(ThreadPool::shared(), rank_one, 40, 70, 3);
  refit(ThreadPool::shared(), rank_one, c, 3);
  CHECK(c.finite() && c.residual[0] < 1e-5f, "rank one");

  const std::vector<float> w = random.normals(40 * 70);
  c = extract(ThreadPool::shared(), w, 40, 70, 2);
  std::copy(c.bits.begin(), c.bits.begin() + 80, c.bits.begin() + 80);  // the second kernel repeats the first
  std::copy(c.s_in.begin(), c.s_in.begin() + 70, c.s_in.begin() + 70);
  refit(ThreadPool::shared(), w, c, 3);
  CHECK(c.finite() && c.residual[0] < 0.7f, "equal kernels");
  for (size_t i = 1; i < c.bits.size(); i += 2) CHECK((c.bits[i] >> 6) == 0, "padding");
}

}  // namespace
}  // namespace mbok::test
