// The dense linear layer and its gradients against their definitions in float64.
#include <algorithm>
#include <array>

#include "kernels/dense_decode/dense_decode.h"
#include "run.h"

namespace mbok {
namespace {

using test::matrix;
using test::Random;
using test::run_operation;
using test::for_any_threads;
using Shape = test::LinearShape;

std::vector<Shape> shapes() {
  std::vector<Shape> list;
  for (int64_t rows = 1; rows <= 10; ++rows)  // decode and the first sizes beyond it
    for (const auto& [m, n] : {std::array<int64_t, 2>{1, 1}, {7, 5}, {8, 64}, {33, 130}, {70, 65}, {192, 515}})
      list.push_back({rows, m, n});
  for (const Shape& prompt : {Shape{31, 64, 64}, {64, 65, 129}, {130, 192, 64}, {515, 64, 192}, {2060, 33, 17}})
    list.push_back(prompt);
  return list;
}

// Sums cancel in tiny results, which get a looser tolerance.
double tolerance(double precision, const Shape& s) {
  const double base = precision == 0 ? 1e-6 : 6e-3;
  return s.rows * s.m < 100 || s.rows * s.n < 100 ? 20 * base : base;
}

TEST("dense decode: every candidate agrees with scalar, and a row does not depend on its neighbors") {
  Random random(13);
  for (const int64_t outputs : {1, 2, 7, 8, 9, 33})
    for (const int64_t depth : {1, 15, 16, 17, 130, 512, 515}) {
      const std::vector<float> x = random.normals(8 * depth), w = random.normals(outputs * depth);
      const std::vector<float> bias = random.normals(outputs);
      const auto decode = [&](DenseDecodeFunction* function, int64_t rows) {
        std::vector<float> y(static_cast<size_t>(8 * outputs));
        function({x.data(), rows, depth, w.data(), outputs, nullptr, depth % 2 == 0 ? bias.data() : nullptr, y.data(),
                  outputs, 0, rows % 2 == 1});
        return y;
      };
      const std::vector<float> expected = decode(dense_decode_f32_table.candidates().back().function, 8);
      for (const auto& candidate : dense_decode_f32_table.candidates()) {
        if (!candidate.supported()) continue;
        const std::vector<float> all = decode(candidate.function, 8);
        CHECK(test::relative_error(all, expected) <= 5e-6, candidate.name);
        for (int64_t rows = 1; rows < 8; ++rows) {
          const std::vector<float> some = decode(candidate.function, rows);
          CHECK(std::equal(some.begin(), some.begin() + rows * outputs, all.begin()), candidate.name);
        }
      }
    }
}

TEST("linear: y = x W' + bias for decoding and prompts, any precision and threads") {
  Random random(11);
  for (const Shape& s : shapes())
    for (const double precision : {0.0, 1.0})
      for (const bool biased : {false, true}) {
        const std::vector<float> x = random.normals(s.rows * s.n), w = random.normals(s.m * s.n);
        const std::vector<float> b = random.normals(s.m);
        std::vector<float> expected;
        for (int64_t r = 0; r < s.rows; ++r)
          for (int64_t i = 0; i < s.m; ++i) {
            double sum = biased ? b[static_cast<size_t>(i)] : 0.0;
            for (int64_t j = 0; j < s.n; ++j)
              sum += static_cast<double>(x[static_cast<size_t>(r * s.n + j)]) * w[static_cast<size_t>(i * s.n + j)];
            expected.push_back(static_cast<float>(sum));
          }
        const auto y = for_any_threads(random.normals(s.rows * s.m), s.name(), [&](ThreadPool& pool, auto& out) {
          std::vector<Tensor> inputs = {matrix(x, s.rows, s.n), matrix(w, s.m, s.n)};
          if (biased) inputs.push_back(matrix(b, 1, s.m));
          run_operation(pool, "linear", inputs, {matrix(out, s.rows, s.m)}, {precision});
        });
        CHECK(test::relative_error(y, expected) <= tolerance(precision, s), s.name());
      }
}

TEST("linear gradients: dx = dy W, dW += dy' x, db += sum of dy") {
  Random random(12);
  for (const Shape& s : shapes())
    for (const double precision : {0.0, 1.0}) {
      const std::vector<float> x = random.normals(s.rows * s.n), w = random.normals(s.m * s.n);
      const std::vector<float> dy = random.normals(s.rows * s.m);
      std::vector<double> dx(static_cast<size_t>(s.rows * s.n)), dw(static_cast<size_t>(s.m * s.n));
      std::vector<double> db(static_cast<size_t>(s.m));
      for (int64_t r = 0; r < s.rows; ++r)
        for (int64_t i = 0; i < s.m; ++i) {
          const double z = dy[static_cast<size_t>(r * s.m + i)];
          db[static_cast<size_t>(i)] += z;
          for (int64_t j = 0; j < s.n; ++j) {
            dx[static_cast<size_t>(r * s.n + j)] += z * w[static_cast<size_t>(i * s.n + j)];
            dw[static_cast<size_t>(i * s.n + j)] += z * x[static_cast<size_t>(r * s.n + j)];
          }
        }
      const auto check = [&](const std::vector<float>& start, std::vector<float> result, const std::vector<double>& sum,
                             bool adds, double limit, const char* what) {
        if (adds)
          for (size_t i = 0; i < result.size(); ++i) result[i] -= start[i];
        CHECK(test::relative_error(result, std::vector<float>(sum.begin(), sum.end())) <= limit, what + s.name());
      };
      std::vector<float> start = random.normals(s.rows * s.n);
      check(start,
            for_any_threads(start, s.name(),
                            [&](ThreadPool& pool, auto& out) {
                              run_operation(pool, "linear_gradient_input",
                                            {matrix(dy, s.rows, s.m), matrix(w, s.m, s.n)}, {matrix(out, s.rows, s.n)},
                                            {precision});
                            }),
            dx, false, tolerance(precision, s), "dx, ");
      start = random.normals(s.m * s.n);
      check(start,
            for_any_threads(start, s.name(),
                            [&](ThreadPool& pool, auto& out) {
                              run_operation(pool, "linear_gradient_weight",
                                            {matrix(dy, s.rows, s.m), matrix(x, s.rows, s.n)}, {matrix(out, s.m, s.n)},
                                            {precision});
                            }),
            dw, true, tolerance(precision, s), "dW, ");
      start = random.normals(s.m);
      check(start,
            for_any_threads(start, s.name(),
                            [&](ThreadPool& pool, auto& out) {
                              run_operation(pool, "bias_gradient", {matrix(dy, s.rows, s.m)}, {matrix(out, 1, s.m)},
                                            {});
                            }),
            db, true, tolerance(0, s), "db, ");
    }
}

}  // namespace
}  // namespace mbok
