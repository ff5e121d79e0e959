// 8-bit products: rotation and rounding of tokens' rows and of weights, and their products.
#include <cmath>
#include <cstring>

#include "kernels/boolean_panel/boolean_panel.h"
#include "kernels/dense_panel/dense_panel.h"
#include "kernels/dense_product/dense_product.h"
#include "gradient_check.h"
#include "run.h"

using namespace mbok;
using test::matrix;
using test::Random;

namespace {

constexpr int64_t kNumbers = 4 * kInt8Steps;

std::vector<std::byte> int8_rows(Int8RowFunction* function, const std::vector<float>& x, int64_t rows, int64_t cols) {
  const int64_t bytes = (cols + kNumbers - 1) / kNumbers * kInt8RowSteps * 4;
  std::vector<std::byte> out(static_cast<size_t>(rows * bytes));
  for (int64_t row = 0; row < rows; ++row) function(x.data() + row * cols, cols, out.data() + row * bytes);
  return out;
}

// Random weights of `kernels` kernels, one block of the depth.
struct Source {
  Source(Random& random, int64_t kernels, int64_t depth)
      : signs(static_cast<size_t>(kernels * depth)),
        along(random.normals(kernels * depth)),
        across(random.normals(kernels * kPanelCols)),
        panel{signs.data(), depth, 1, along.data(), depth, across.data(), kernels, depth} {
    for (uint64_t& word : signs) word = random.next();
  }

  std::vector<uint64_t> signs;
  std::vector<float> along, across;
  BooleanPanel panel;
};

// Returns bytes and scales, without the remains of the f32 weights.
std::vector<std::byte> int8_panel(BooleanPanelFunction* function, const Source& source) {
  std::vector<std::byte> panel(static_cast<size_t>(kNumbers * kPanelCols * 4)), out;
  function(source.panel, panel.data());
  const int64_t rotated = (source.panel.depth + kRotated - 1) / kRotated * kRotated * kPanelCols;
  out.assign(panel.begin(), panel.begin() + rotated);
  const auto scales = panel.begin() + kInt8Steps * kPanelCols * 4;
  out.resize(static_cast<size_t>(kInt8Steps * kPanelCols * 4));
  out.insert(out.end(), scales, scales + kPanelCols * 4);
  return out;
}

}  // namespace

TEST("int8 rows: every candidate rounds as scalar does, whatever the size") {
  Random random(91);
  for (const int64_t cols : {1, 63, 64, 65, 256, 257, 600})
    for (const float size : {1.0f, 1e-30f, 1e30f, 1e-42f, 0.0f, INFINITY}) {
      std::vector<float> x = random.normals(cols);
      for (float& value : x) value *= size;
      const auto expected = int8_rows(int8_row_table.candidates().back().function, x, 1, cols);
      test::for_each_candidate(int8_row_table, [&](auto* function, const std::string& candidate) {
        CHECK(int8_rows(function, x, 1, cols) == expected,
              std::to_string(cols) + " of " + std::to_string(size) + " " + candidate);
      });
    }
}

TEST("int8 panels: every candidate rebuilds what scalar does") {
  Random random(92);
  for (int64_t kernels = 1; kernels <= 8; ++kernels)
    for (const int64_t depth : {1, 63, 64, 65, 200, 256}) {
      const Source source(random, kernels, depth);
      const auto expected = int8_panel(boolean_panel_i8_table.candidates().back().function, source);
      test::for_each_candidate(boolean_panel_i8_table, [&](auto* function, const std::string& candidate) {
        CHECK(int8_panel(function, source) == expected,
              std::to_string(kernels) + " x " + std::to_string(depth) + " " + candidate);
      });
    }
}

TEST("int8 products: every candidate gives the bits of scalar, close to the product in f64") {
  Random random(93);
  for (const int64_t rows : {1, 5, 6, 7, 37})
    for (const int64_t cols : {1, 16, 17, 33, 49, 64})
      for (const int64_t depth : {64, 100, 256}) {
        const bool accumulate = random.integer(0, 1) == 1;
        const Source source(random, 2, depth);
        const std::vector<float> x = random.normals(rows * depth), start = random.normals(rows * (cols + 3)),
                                 bias = random.normals(cols);
        const auto a = int8_rows(int8_row_table.best(), x, rows, depth);
        const auto b = int8_panel(boolean_panel_i8_table.best(), source);
        const auto multiply = [&](DenseProductFunction* function) {
          std::vector<float> c = start;
          function({a.data(), kInt8RowSteps, 1, b.data(), c.data(), cols + 3, rows, cols,
                    (depth + kRotated - 1) / kRotated * kRotated / 4, accumulate, bias.data()});
          return c;
        };
        const std::string name = std::to_string(rows) + " x " + std::to_string(cols) + " x " + std::to_string(depth);
        const std::vector<float> expected = multiply(dense_product_i8_table.candidates().back().function);
        test::for_each_candidate(dense_product_i8_table, [&](auto* function, const std::string& candidate) {
          CHECK(test::same_bits(multiply(function), expected), name + " " + candidate);
        });
        std::vector<float> weights(static_cast<size_t>(depth * kPanelCols));
        boolean_panel_f32_table.best()(source.panel, weights.data());
        double error = 0, norm = 0;
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t j = 0; j < cols; ++j) {
            double sum = 0;
            for (int64_t d = 0; d < depth; ++d)
              sum += static_cast<double>(x[static_cast<size_t>(i * depth + d)]) *
                     weights[static_cast<size_t>(d * kPanelCols + j)];
            const size_t at = static_cast<size_t>(i * (cols + 3) + j);
            const double got = expected[at] - (accumulate ? start[at] : bias[static_cast<size_t>(j)]);
            error += (got - sum) * (got - sum);
            norm += sum * sum;
          }
        CHECK(error <= 0.03 * 0.03 * norm, name + ": " + std::to_string(std::sqrt(error / norm)));
      }
}

TEST("multi_boolean_linear in int8: close to f32 for channels of any size, the same for any number of threads") {
  Random random(94);
  for (const int64_t kernels : {1, 2, 4})
    for (const auto& [m, n] : {std::pair<int64_t, int64_t>{5, 70}, {64, 256}, {200, 576}, {129, 1000}})
      for (const int64_t rows : {9, 70, 300})
        for (const float largest : {1.0f, 50.0f}) {
          const int64_t words = (n + 63) / 64;
          std::vector<uint64_t> bits(static_cast<size_t>(kernels * m * words));
          for (uint64_t& word : bits) word = random.next();
          if (n % 64 != 0)
            for (size_t last = static_cast<size_t>(words) - 1; last < bits.size(); last += static_cast<size_t>(words))
              bits[last] &= (uint64_t{1} << n % 64) - 1;
          const std::vector<float> s_out = random.normals(kernels * m), s_in = random.normals(kernels * n);
          std::vector<float> x = random.normals(rows * n);
          for (size_t at = 17; at < x.size(); at += static_cast<size_t>(n)) x[at] *= largest;
          const auto run = [&](ThreadPool& pool, double precision) {
            std::vector<float> y(static_cast<size_t>(rows * m));
            test::run_operation(pool, "multi_boolean_linear",
                                {matrix(x, rows, n), test::bit_matrix(bits, kernels * m, n), matrix(s_out, kernels, m),
                                 matrix(s_in, kernels, n)},
                                {matrix(y, rows, m)}, {precision});
            return y;
          };
          const std::vector<float> exact = run(test::one_thread(), 0), got = run(test::one_thread(), 2);
          double error = 0, norm = 0;
          for (size_t i = 0; i < got.size(); ++i) {
            error += std::pow(static_cast<double>(got[i]) - exact[i], 2);
            norm += std::pow(static_cast<double>(exact[i]), 2);
          }
          const std::string name = std::to_string(kernels) + " x " + std::to_string(m) + " x " + std::to_string(n) +
                                   ", rows " + std::to_string(rows) + ", largest " + std::to_string(largest);
          CHECK(error <= 0.03 * 0.03 * norm, name + ": " + std::to_string(std::sqrt(error / norm)));
          CHECK(test::same_bits(run(test::three_threads(), 2), got), name + " three threads");
        }
}
