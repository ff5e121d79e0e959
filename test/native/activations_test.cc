// Inputs of linear layers rounded to few bits.
#include <cmath>

#include "gradient_check.h"
#include "run.h"

using namespace mbok;
using test::matrix;
using test::Random;

namespace {

std::vector<float> rounded(ThreadPool& pool, const std::vector<float>& x, int64_t rows, int64_t cols, double bits) {
  std::vector<float> y(x.size());
  test::run_operation(pool, "round_activations", {matrix(x, rows, cols)}, {matrix(y, rows, cols)}, {bits});
  return y;
}

double relative_error(const std::vector<float>& x, const std::vector<float>& y) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    error += std::pow(static_cast<double>(x[i]) - y[i], 2);
    norm += std::pow(static_cast<double>(x[i]), 2);
  }
  return std::sqrt(error / norm);
}

}  // namespace

TEST("round_activations: errors of normal numbers are those of their widths, also beside a channel 50 times as large") {
  Random random(101);
  // scale / √12 over the deviation with scale = 2.4 deviations (the largest of 64) / levels; √0.19 and √(1 − 2 / π)
  const std::pair<double, double> bounds[] = {{8, 0.008}, {4, 0.12}, {2, 0.55}, {1, 0.64}};
  for (const auto& [bits, bound] : bounds)
    for (const float channel : {1.0f, 50.0f})
      for (const int64_t cols : {64, 100, 576}) {
        std::vector<float> x = random.normals(40 * cols);
        for (size_t at = 7; at < x.size(); at += static_cast<size_t>(cols)) x[at] *= channel;
        const double error = relative_error(x, rounded(test::one_thread(), x, 40, cols, bits));
        CHECK((error > bound / 2 || channel > 1) && error <= bound,
              std::to_string(bits) + " bits: " + std::to_string(error));
      }
}

TEST("round_activations: a block's rotated numbers take as many levels as their bits have") {
  Random random(102);
  for (const auto& [bits, levels] : {std::pair<double, size_t>{4, 15}, {2, 3}, {1, 2}}) {
    const std::vector<float> y = rounded(test::one_thread(), random.normals(64), 1, 64, bits);
    std::vector<double> seen;
    for (size_t i = 0; i < 64; ++i) {
      double sum = 0;
      for (size_t j = 0; j < 64; ++j)
        sum += (__builtin_popcountll(i & j) % 2 == 0 ? 1 : -1) * static_cast<double>(y[j]);
      bool known = false;
      for (const double value : seen) known = known || std::abs(value - sum) < 1e-3;
      if (!known) seen.push_back(sum);
    }
    CHECK(seen.size() <= levels, std::to_string(bits) + " bits: " + std::to_string(seen.size()) + " levels");
  }
}

TEST("round_activations: zeros stay, what is not finite does not look finite, threads change nothing") {
  const std::vector<float> zeros(100, 0.0f);
  Random random(103);
  const std::vector<float> x = random.normals(33 * 100);
  for (const double bits : {8.0, 4.0, 2.0, 1.0}) {
    CHECK(rounded(test::one_thread(), zeros, 1, 100, bits) == zeros, "zeros");
    for (const float bad : {INFINITY, NAN}) {
      std::vector<float> y = zeros;
      y[3] = bad;
      CHECK(!std::isfinite(rounded(test::one_thread(), y, 1, 100, bits)[3]), "not finite");
    }
    CHECK(test::same_bits(rounded(test::one_thread(), x, 33, 100, bits),
                          rounded(test::three_threads(), x, 33, 100, bits)),
          "threads");
  }
  for (const double bits : {0.0, 3.0, 16.0})
    CHECK(test::throws("MBOK_SHAPE", [&] { rounded(test::one_thread(), zeros, 1, 100, bits); }), std::to_string(bits));
}
