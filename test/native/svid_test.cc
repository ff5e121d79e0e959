#include "converted.h"
#include "gradient_check.h"
#include "kernels/svid/svid.h"

namespace mbok::test {
namespace {

constexpr int64_t kLengths[] = {1, 3, 8, 17, 63, 64, 65, 130, 257};

// Successive extraction in float64, with far more rounds of power iteration than needed.
struct Reference {
  std::vector<float> s_out, s_in, residual;
  std::vector<bool> positive;
};

Reference successive_extraction(const std::vector<float>& w, int64_t m, int64_t n, int kernels) {
  Reference out;
  std::vector<double> r(w.begin(), w.end());
  for (int k = 0; k < kernels; ++k) {
    std::vector<double> u(static_cast<size_t>(m)), v(static_cast<size_t>(n), 1.0);
    const auto at = [&](int64_t i, int64_t j) -> double& { return r[static_cast<size_t>(i * n + j)]; };
    double sigma = 0;
    for (int round = 0; round < 2000; ++round) {
      double squares = 0;
      for (int64_t i = 0; i < m; ++i) {
        u[static_cast<size_t>(i)] = 0;
        for (int64_t j = 0; j < n; ++j) u[static_cast<size_t>(i)] += std::fabs(at(i, j)) * v[static_cast<size_t>(j)];
        squares += u[static_cast<size_t>(i)] * u[static_cast<size_t>(i)];
      }
      for (double& x : u) x /= std::sqrt(squares);
      squares = 0;
      for (int64_t j = 0; j < n; ++j) {
        v[static_cast<size_t>(j)] = 0;
        for (int64_t i = 0; i < m; ++i) v[static_cast<size_t>(j)] += std::fabs(at(i, j)) * u[static_cast<size_t>(i)];
        squares += v[static_cast<size_t>(j)] * v[static_cast<size_t>(j)];
      }
      sigma = std::sqrt(squares);
      for (double& x : v) x /= sigma;
    }
    for (const double x : u) out.s_out.push_back(static_cast<float>(x * std::sqrt(sigma)));
    for (const double x : v) out.s_in.push_back(static_cast<float>(x * std::sqrt(sigma)));
    double squares = 0;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        const bool positive = at(i, j) >= 0;
        out.positive.push_back(positive);
        at(i, j) -= (positive ? 1 : -1) * u[static_cast<size_t>(i)] * v[static_cast<size_t>(j)] * sigma;
        squares += at(i, j) * at(i, j);
      }
    out.residual.push_back(static_cast<float>(std::sqrt(squares) / norm_of(w)));
  }
  return out;
}

TEST("magnitude_step: every candidate equals the reference for every tail") {
  Random random(1);
  for (const int64_t n : kLengths) {
    const int64_t rows = 1 + n % 5;
    const std::vector<float> r = random.normals(rows * n);
    std::vector<double> v(static_cast<size_t>(n));
    for (double& x : v) x = random.uniform();
    std::vector<double> u(static_cast<size_t>(rows)), sum(static_cast<size_t>(n), 99.0);
    scalar::magnitude_step(r.data(), rows, n, v.data(), u.data(), sum.data());
    for_each_candidate(magnitude_step_table, [&](MagnitudeStepFunction* step, const std::string& name) {
      std::vector<double> own_u(u.size()), own_sum(sum.size(), -7.0);
      step(r.data(), rows, n, v.data(), own_u.data(), own_sum.data());
      for (size_t i = 0; i < u.size(); ++i) CHECK(std::fabs(own_u[i] / u[i] - 1) < 1e-12, name);
      for (size_t j = 0; j < sum.size(); ++j) CHECK(std::fabs(own_sum[j] / sum[j] - 1) < 1e-12, name);
    });
  }
}

TEST("extract_row: every candidate takes the same signs and leaves the same rest") {
  Random random(2);
  for (const int64_t n : kLengths) {
    std::vector<float> r = random.normals(n);
    r[0] = -0.0f;  // zero counts as +1, whatever its sign bit
    const std::vector<float> s_in = random.normals(n);
    const size_t words = static_cast<size_t>(words_per_row(n));
    std::vector<float> rest(r.size());
    std::vector<uint64_t> bits(words, ~0ull);
    const double squares = scalar::extract_row(r.data(), 0.7f, s_in.data(), n, bits.data(), rest.data());
    CHECK(bits[0] & 1, "sign of -0");
    for_each_candidate(extract_row_table, [&](ExtractRowFunction* extract, const std::string& name) {
      std::vector<float> own = r;  // in place
      std::vector<uint64_t> own_bits(words, ~0ull);
      const double own_squares = extract(own.data(), 0.7f, s_in.data(), n, own_bits.data(), own.data());
      CHECK(own_bits == bits, name);
      CHECK(own == rest, name);
      CHECK(std::fabs(own_squares - squares) <= 1e-6 * squares, name);
    });
  }
}

TEST("svid: scales, signs and residuals are those of a converged float64 extraction") {
  struct Shape {
    int64_t m, n;
  };
  Random random(3);
  for (const Shape s : {Shape{1, 1}, {1, 70}, {67, 1}, {40, 33}, {33, 130}, {150, 65}}) {
    const int kernels = s.m * s.n > 1 ? 4 : 1;
    const std::vector<float> w = random.normals(s.m * s.n);
    const Reference expected = successive_extraction(w, s.m, s.n, kernels);
    const std::string name = std::to_string(s.m) + " x " + std::to_string(s.n);
    const Converted got = extract(ThreadPool::shared(), w, s.m, s.n, kernels);
    if (s.m == 1 || s.n == 1) {  // |W| has rank 1: one kernel is exact, the others are rounding
      CHECK(got.residual[0] < 1e-6, name);
      CHECK(got.finite(), name);
      continue;
    }
    check_close(got.s_out, expected.s_out, 2e-6, name + " s_out");
    check_close(got.s_in, expected.s_in, 2e-6, name + " s_in");
    check_close(got.residual, expected.residual, 1e-6, name + " residual");
    int64_t different = 0;
    size_t at = 0;
    for (int k = 0; k < kernels; ++k)
      for (int64_t i = 0; i < s.m; ++i)
        for (int64_t j = 0; j < s.n; ++j) different += (got.sign(k, i, j) > 0) != expected.positive[at++];
    CHECK(different == 0, name + ": " + std::to_string(different) + " signs differ");
  }
}

TEST("svid: one, three and the shared number of threads give the same bits") {
  Random random(4);
  const std::vector<float> w = random.normals(210 * 300);
  const Converted first = extract(one_thread(), w, 210, 300, 3);
  CHECK(first.same_bits(extract(three_threads(), w, 210, 300, 3)), "3 threads");
  CHECK(first.same_bits(extract(ThreadPool::shared(), w, 210, 300, 3)), "shared pool");
}

TEST("svid: a zero matrix has zero scales, zero rows and columns stay zero") {
  const Converted zero = extract(ThreadPool::shared(), std::vector<float>(20 * 70), 20, 70, 2);
  CHECK(norm_of(zero.s_out) == 0 && norm_of(zero.s_in) == 0 && norm_of(zero.residual) == 0, "zero matrix");
  CHECK(zero.bits[1] == 0x3f, "padding bits stay zero");

  Random random(5);
  std::vector<float> w = random.normals(20 * 70);
  for (int64_t j = 0; j < 70; ++j) w[static_cast<size_t>(3 * 70 + j)] = 0;
  for (int64_t i = 0; i < 20; ++i) w[static_cast<size_t>(i * 70 + 69)] = 0;
  const Converted c = extract(ThreadPool::shared(), w, 20, 70, 2);
  CHECK(c.finite() && c.s_out[3] == 0 && c.s_in[69] == 0, "zero row and column");
}

TEST("svid: weights that are not finite are refused") {
  std::vector<float> w(4 * 5, 1.0f);
  w[7] = NAN;
  CHECK(throws("MBOK_NON_FINITE", [&] { extract(ThreadPool::shared(), w, 4, 5, 1); }), "NaN");
  w[7] = INFINITY;
  CHECK(throws("MBOK_NON_FINITE", [&] { extract(ThreadPool::shared(), w, 4, 5, 1); }), "infinity");
}

}  // namespace
}  // namespace mbok::test
