// Cross-entropy, KL divergence and hidden-state losses with their gradients, against float64 definitions.
#include <algorithm>

#include "gradient_check.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/hidden_loss/hidden_loss.h"
#include "kernels/kl_divergence/kl_divergence.h"

namespace mbok {
namespace {

using test::check_close;
using test::integers;
using test::matrix;
using test::Random;
using Vectors = std::vector<std::vector<float>>;

const int64_t kWidths[] = {1, 2, 7, 8, 15, 16, 17, 33, 100, 511, 512, 513, 1030, 4099};

std::vector<float> scaled(std::vector<float> values, float factor, float shift = 0) {
  for (float& value : values) value = value * factor + shift;
  return values;
}

double log_softmax(const std::vector<double>& x, size_t row, size_t cols, size_t j) {
  double largest = -INFINITY, sum = 0;
  for (size_t i = 0; i < cols; ++i) largest = std::fmax(largest, x[row * cols + i]);
  for (size_t i = 0; i < cols; ++i) sum += std::exp(x[row * cols + i] - largest);
  return x[row * cols + j] - largest - std::log(sum);
}

TEST("losses: every candidate agrees with the reference on rows of any width") {
  Random random(61);
  for (const int64_t cols : kWidths)
    for (const float size : {0.1f, 3.0f, 40.0f}) {
      const auto x = scaled(random.normals(cols), size, 5), t = scaled(random.normals(cols), size, -700);
      const int64_t target = random.integer(0, cols - 1);
      const std::string shape = " width " + std::to_string(cols) + " size " + std::to_string(size);
      std::vector<float> expected(x.size());

      const SoftmaxSum of = scalar::softmax_sum(x.data(), cols);
      test::for_each_candidate(softmax_sum_table, [&](auto* function, const std::string& name) {
        const SoftmaxSum got = function(x.data(), cols);
        CHECK(got.largest == of.largest && std::fabs(got.sum / of.sum - 1) <= 1e-6, name + shape);
      });
      scalar::cross_entropy_gradient(x.data(), cols, target, of, 0.7f, expected.data());
      test::for_each_candidate(cross_entropy_gradient_table, [&](auto* function, const std::string& name) {
        std::vector<float> got = x;
        function(got.data(), cols, target, of, 0.7f, got.data());
        // near the target the gradient is a difference of numbers near one
        for (size_t j = 0; j < got.size(); ++j) CHECK(std::fabs(got[j] - expected[j]) <= 3e-7, name + shape);
        // in parts
        const int64_t half = cols / 2;
        std::vector<float> parts = x;
        for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, half}, {half, cols}})
          if (begin < end)
            function(&parts[static_cast<size_t>(begin)], end - begin, target - begin, of, 0.7f,
                     &parts[static_cast<size_t>(begin)]);
        for (size_t j = 0; j < got.size(); ++j)
          CHECK(std::fabs(parts[j] - got[j]) <= 3e-7, name + shape + ", in parts");
      });

      const Divergence both = scalar::kl_divergence(x.data(), t.data(), cols);
      const double kl = both.value;
      test::for_each_candidate(kl_divergence_table, [&](auto* function, const std::string& name) {
        const Divergence got = function(x.data(), t.data(), cols);
        CHECK(std::fabs(got.value - kl) <= 2e-6 * (1 + kl), name + shape);
        CHECK(got.student.largest == both.student.largest && got.teacher.largest == both.teacher.largest, name + shape);
        CHECK(std::fabs(got.student.sum / both.student.sum - 1) <= 1e-6, name + shape);
        CHECK(std::fabs(got.teacher.sum / both.teacher.sum - 1) <= 1e-6, name + shape);
        CHECK(std::fabs(function(t.data(), t.data(), cols).value) <= 1e-12, name + shape + ", of itself");
      });
      scalar::kl_divergence_gradient(x.data(), t.data(), cols, both, 0.7f, expected.data());
      test::for_each_candidate(kl_divergence_gradient_table, [&](auto* function, const std::string& name) {
        std::vector<float> got = x;
        const double cross = function(got.data(), t.data(), cols, both, 0.7f, got.data());
        CHECK(std::fabs(divergence_of(cross, both.student, both.teacher) - kl) <= 2e-6 * (1 + kl), name + shape);
        for (size_t j = 0; j < got.size(); ++j) CHECK(std::fabs(got[j] - expected[j]) <= 3e-7, name + shape);
      });

      const HiddenDistance distance = scalar::hidden_distance(x.data(), t.data(), cols);
      test::for_each_candidate(hidden_distance_table, [&](auto* function, const std::string& name) {
        const HiddenDistance got = function(x.data(), t.data(), cols);
        CHECK(std::fabs(got.difference / distance.difference - 1) <= 1e-6, name + shape);
        CHECK(std::fabs(got.norm / distance.norm - 1) <= 1e-6, name + shape);
      });
      scalar::hidden_loss_gradient(x.data(), t.data(), cols, 0.7f, expected.data());
      test::for_each_candidate(hidden_loss_gradient_table, [&](auto* function, const std::string& name) {
        std::vector<float> got = x;
        function(got.data(), t.data(), cols, 0.7f, got.data());
        check_close(got, expected, 1e-6, name + shape);
      });
    }
}

TEST("losses: parts of a row have the sum of all, by every candidate") {
  Random random(63);
  constexpr int64_t kRows = 3;
  for (const int64_t cols : {1, 7, 16, 100, 255, 256, 512})
    for (const float size : {0.1f, 3.0f, 40.0f}) {
      const int64_t stride = cols + 5;
      auto x = scaled(random.normals(kRows * stride), size, 90);
      if (cols > 1) x[0] = -INFINITY;
      const std::string shape = " width " + std::to_string(cols) + " size " + std::to_string(size);
      std::vector<float> largest(kRows), sums(kRows), products(kRows), expected(kRows), expected_products(kRows);
      scalar::exp_sums({x.data(), stride, kRows, cols}, largest.data(), expected.data(), expected_products.data());
      const std::vector<float> most = largest;
      test::for_each_candidate(exp_sums_table, [&](auto* function, const std::string& name) {
        for (float* const asked : {products.data(), static_cast<float*>(nullptr)}) {
          function({x.data(), stride, kRows, cols}, largest.data(), sums.data(), asked);
          CHECK(largest == most, name + shape);
          check_close(sums, expected, 1e-6, name + shape);
        }
        check_close(products, expected_products, 1e-6, name + shape);
      });
      for (int64_t r = 0; r < kRows; ++r) {
        const auto at = static_cast<size_t>(r);
        // the same part several times, and one of nothing
        const std::vector<float> parts(20, most[at]), sum(20, expected[at]);
        std::vector<float> with_none = parts, sums_with_none = sum;
        with_none.push_back(-INFINITY);
        sums_with_none.push_back(0);
        const SoftmaxSum whole = scalar::softmax_sum(x.data() + r * stride, cols);
        test::for_each_candidate(softmax_sum_of_parts_table, [&](auto* function, const std::string& name) {
          const SoftmaxSum got = function(parts.data(), sum.data(), 20);
          CHECK(got.largest == whole.largest && std::fabs(got.sum / whole.sum - 20) <= 2e-5, name + shape);
          CHECK(function(with_none.data(), sums_with_none.data(), 21).sum == got.sum, name + shape);
        });
      }
    }
  const std::vector<float> none(20, -INFINITY);
  test::for_each_candidate(exp_sums_table, [&](auto* function, const std::string& name) {
    float largest = 0, sum = 1, product = 1;
    function({none.data(), 20, 1, 20}, &largest, &sum, &product);
    CHECK(largest == -INFINITY && sum == 0 && product == 0, name);
  });
}

TEST("sampling: runs of a row weigh what their tokens do, by every candidate") {
  Random random(64);
  for (const int64_t cols : {1, 7, 255, 256, 257, 700})
    for (const float factor : {0.3f, 1.0f, 20.0f, 3.4e38f})
      for (const int64_t run : {5, 256}) {
        auto x = scaled(random.normals(cols), 3, 90);
        for (int64_t j = 0; j < std::min<int64_t>(cols - 1, 6); ++j) x[static_cast<size_t>(j)] = -INFINITY;
        const LogitRuns row = {x.data(), cols, run, factor};
        const auto runs = static_cast<size_t>((cols + run - 1) / run);
        std::vector<float> largest(runs), weights(runs), most(runs), expected(runs);
        scalar::weigh_runs(row, most.data(), expected.data());
        const std::string shape = " width " + std::to_string(cols) + " factor " + std::to_string(factor);
        test::for_each_candidate(weigh_runs_table, [&](auto* function, const std::string& name) {
          function(row, largest.data(), weights.data());
          CHECK(largest == most, name + shape);
          check_close(weights, expected, 2e-6, name + shape);
          x.back() = NAN;
          function(row, largest.data(), weights.data());
          CHECK(std::isnan(weights.back()), name + shape);
          x.back() = 100;
          scalar::weigh_runs(row, most.data(), expected.data());
        });
      }
}

TEST("losses: NaN in a row reaches the loss") {
  for (const int64_t at : {0, 3, 20, 36}) {
    std::vector<float> x(37, 0.5f);
    const std::vector<float> good = x;
    x[static_cast<size_t>(at)] = NAN;
    test::for_each_candidate(softmax_sum_table, [&](auto* function, const std::string& name) {
      CHECK(std::isnan(function(x.data(), 37).sum), name);
    });
    test::for_each_candidate(exp_sums_table, [&](auto* function, const std::string& name) {
      float largest = 0, sum = 0;
      function({x.data(), 37, 1, 37}, &largest, &sum, nullptr);
      const float parts[] = {1, largest, 2}, sums[] = {1, sum, 1};
      test::for_each_candidate(softmax_sum_of_parts_table, [&](auto* sum_of, const std::string& of) {
        CHECK(std::isnan(sum_of(parts, sums, 3).sum), name + " " + of);
      });
    });
    test::for_each_candidate(kl_divergence_table, [&](auto* function, const std::string& name) {
      const auto value = [&](const std::vector<float>& a, const std::vector<float>& b) {
        return function(a.data(), b.data(), 37).value;
      };
      CHECK(std::isnan(value(x, good)) && std::isnan(value(good, x)), name);
    });
  }
}

TEST("cross_entropy: mean over counted rows, and its gradient by finite differences, any number of threads") {
  Random random(62);
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {7, 13}, {600, 40}}) {
    const auto logits = scaled(random.normals(rows * cols), 2), start = std::vector<float>(logits.size());
    const std::vector<float> upstream = {0.3f};
    std::vector<int32_t> targets;
    for (int64_t r = 0; r < rows; ++r)
      targets.push_back(static_cast<int32_t>(r % 3 == 1 ? -1 : random.integer(0, cols - 1)));
    const auto loss = [&](const std::vector<double>& x) {
      double sum = 0, counted = 0;
      for (size_t r = 0; r < targets.size(); ++r)
        if (targets[r] >= 0) {
          sum -= log_softmax(x, r, static_cast<size_t>(cols), static_cast<size_t>(targets[r]));
          counted += 1;
        }
      return sum / counted;
    };
    const std::string name = std::to_string(rows) + " x " + std::to_string(cols);
    const Vectors before = {{0}, std::vector<float>(targets.size(), 9)};
    const Vectors got = test::same_for_any_threads(before, name, [&](ThreadPool& pool, Vectors& out) {
      test::run_operation(pool, "cross_entropy", {matrix(logits, rows, cols), integers(targets)},
                          {matrix(out[0], 1, 1), matrix(out[1], rows, 1)}, {});
    });
    CHECK(std::fabs(got[0][0] - loss(test::to_double(logits))) < 1e-6 * (1 + got[0][0]), name);
    for (size_t r = 0; r < targets.size(); ++r) {
      const size_t width = static_cast<size_t>(cols), target = static_cast<size_t>(targets[r]);
      const double expected = targets[r] < 0 ? 0 : -log_softmax(test::to_double(logits), r, width, target);
      CHECK(std::fabs(got[1][r] - expected) < 2e-6 * (1 + expected), name + " nll");
    }
    const Vectors gradient = test::same_for_any_threads({start}, name, [&](ThreadPool& pool, Vectors& out) {
      test::run_operation(pool, "cross_entropy_gradient",
                          {matrix(logits, rows, cols), integers(targets), matrix(upstream, 1, 1)},
                          {matrix(out[0], rows, cols)}, {});
    });
    if (rows < 100 && cols > 1)
      check_close(gradient[0], scaled(test::finite_differences(logits, loss), 0.3f), 1e-5, name + " gradient");
  }
}

TEST("cross_entropy: no counted row gives 0, a target outside the vocabulary an error") {
  ThreadPool& pool = ThreadPool::shared();
  std::vector<float> logits = {1, 2, 3, 4}, loss = {5}, gradient(4, 5);
  const std::vector<float> one = {1};
  test::run_operation(pool, "cross_entropy", {matrix(logits, 2, 2), integers({-1, -1})}, {matrix(loss, 1, 1)}, {});
  test::run_operation(pool, "cross_entropy_gradient", {matrix(logits, 2, 2), integers({-1, -1}), matrix(one, 1, 1)},
                      {matrix(gradient, 2, 2)}, {});
  CHECK(loss[0] == 0 && gradient == std::vector<float>(4), "nothing counted");
  for (const int32_t bad : {-2, 2})
    CHECK(test::throws("MBOK_INVALID_ARGUMENT",
                       [&] {
                         test::run_operation(pool, "cross_entropy", {matrix(logits, 2, 2), integers({0, bad})},
                                             {matrix(loss, 1, 1)}, {});
                       }),
          std::to_string(bad));
}

TEST("kl_divergence and hidden_loss: definitions and finite differences, any number of threads") {
  Random random(63);
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{5, 11}, {40, 3}, {2, 37}}) {
    const auto h = random.normals(rows * cols), t = scaled(random.normals(rows * cols), 1.5f);
    const std::vector<float> upstream = {0.3f};
    const auto t64 = test::to_double(t);
    const size_t n = static_cast<size_t>(cols);
    for (int kind = 0; kind < 4; ++kind) {
      const auto loss = [&](const std::vector<double>& x) {
        double sum = 0;
        for (size_t r = 0; r < x.size() / n; ++r) {
          double difference = 0, norm = 0;
          for (size_t j = 0; j < n; ++j) {
            difference += std::pow(x[r * n + j] - t64[r * n + j], 2);
            norm += t64[r * n + j] * t64[r * n + j];
            if (kind == 3) {
              const double p = log_softmax(t64, r, n, j);
              sum += std::exp(p) * (p - log_softmax(x, r, n, j));
            }
          }
          const double ratio = difference / (norm + 1e-6);
          if (kind < 3)
            sum += kind == 0 ? difference / static_cast<double>(cols) : kind == 1 ? ratio : std::log1p(ratio);
        }
        return sum / static_cast<double>(rows);
      };
      const std::string operation = kind == 3 ? "kl_divergence" : "hidden_loss";
      const std::string name =
          operation + " " + std::to_string(kind) + ": " + std::to_string(rows) + " x " + std::to_string(cols);
      std::vector<double> attributes;
      if (kind < 3) attributes.push_back(kind);
      const Vectors got = test::same_for_any_threads({{0}, h}, name, [&](ThreadPool& pool, Vectors& out) {
        test::run_operation(pool, operation.c_str(), {matrix(h, rows, cols), matrix(t, rows, cols)},
                            {matrix(out[0], 1, 1)}, attributes);
        test::run_operation(pool, (operation + "_gradient").c_str(),
                            {matrix(out[1], rows, cols), matrix(t, rows, cols), matrix(upstream, 1, 1)},
                            {matrix(out[1], rows, cols)}, attributes);
      });
      CHECK(std::fabs(got[0][0] - loss(test::to_double(h))) < 1e-6 * (1 + got[0][0]), name);
      check_close(got[1], scaled(test::finite_differences(h, loss), 0.3f), 1e-5, name + " gradient");
    }
  }
}

TEST("hidden_loss: rows of zeros in the original divide by the floor, not by zero") {
  std::vector<float> h = {1, 2}, t = {0, 0}, loss = {0};
  test::run_operation(ThreadPool::shared(), "hidden_loss", {matrix(h, 1, 2), matrix(t, 1, 2)}, {matrix(loss, 1, 1)},
                      {1});
  CHECK(std::fabs(loss[0] - 5e6) < 1, std::to_string(loss[0]));
}

}  // namespace
}  // namespace mbok
