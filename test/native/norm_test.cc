// RMSNorm and LayerNorm: every candidate against the reference, gradients against float64 finite differences.
#include "gradient_check.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/rms_norm/rms_norm.h"

namespace mbok {
namespace {

using test::check_close;
using test::matrix;
using test::Random;
using Vectors = std::vector<std::vector<float>>;

constexpr double kEps = 1e-5;
constexpr int64_t kRows = 3;
constexpr float kGuard = 12345;
const int64_t kWidths[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 192, 579};

bool guarded(const std::vector<float>& values) { return values.back() == kGuard; }

// One more element than the kernel may touch.
std::vector<float> guarded_zeros(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count + 1));
  values.back() = kGuard;
  return values;
}

// `center` subtracts the mean: LayerNorm, not RMSNorm.
double normalized_sum(const std::vector<double>& x, const std::vector<double>& w, const std::vector<double>& b,
                      const std::vector<float>& dy, bool center) {
  const size_t cols = w.size();
  double loss = 0;
  for (size_t r = 0; r * cols < x.size(); ++r) {
    double mean = 0, square = 0;
    for (size_t j = 0; j < cols && center; ++j) mean += x[r * cols + j] / static_cast<double>(cols);
    for (size_t j = 0; j < cols; ++j) square += std::pow(x[r * cols + j] - mean, 2) / static_cast<double>(cols);
    for (size_t j = 0; j < cols; ++j)
      loss += dy[r * cols + j] * ((x[r * cols + j] - mean) / std::sqrt(square + kEps) * w[j] + b[j]);
  }
  return loss;
}

TEST("rms_norm: every candidate agrees with the reference on rows of any width") {
  Random random(21);
  for (const int64_t cols : kWidths) {
    const auto x = random.normals(kRows * cols), w = random.normals(cols), dy = random.normals(kRows * cols);
    auto y = guarded_zeros(kRows * cols), dx = y, dw = guarded_zeros(cols);
    scalar::rms_norm(x.data(), w.data(), y.data(), kRows, cols, kEps, 0.5);
    scalar::rms_norm_gradient(dy.data(), x.data(), w.data(), dx.data(), dw.data(), kRows, cols, kEps, 0.5);
    const std::string shape = " width " + std::to_string(cols);
    test::for_each_candidate(rms_norm_table, [&](auto* function, const std::string& name) {
      auto got = guarded_zeros(kRows * cols);
      function(x.data(), w.data(), got.data(), kRows, cols, kEps, 0.5);
      check_close(got, y, 1e-6, name + shape);
      CHECK(guarded(got), name + shape);
    });
    test::for_each_candidate(rms_norm_gradient_table, [&](auto* function, const std::string& name) {
      auto got = guarded_zeros(kRows * cols), got_dw = guarded_zeros(cols);
      function(dy.data(), x.data(), w.data(), got.data(), got_dw.data(), kRows, cols, kEps, 0.5);
      check_close(got, dx, 1e-6, name + shape);
      check_close(got_dw, dw, 1e-6, name + shape + " dw");
      CHECK(guarded(got) && guarded(got_dw), name + shape);
      function(dy.data(), x.data(), w.data(), got.data(), nullptr, kRows, cols, kEps, 0.5);
      check_close(got, dx, 1e-6, name + shape + " without dw");
    });
  }
}

TEST("layer_norm: every candidate agrees with the reference on rows of any width") {
  Random random(22);
  for (const int64_t cols : kWidths) {
    if (cols < 3) continue;  // one or two numbers normalize to signs, whose gradient is rounding error
    auto x = random.normals(kRows * cols);
    for (float& value : x) value += 3;
    const auto w = random.normals(cols), b = random.normals(cols), dy = random.normals(kRows * cols);
    auto y = guarded_zeros(kRows * cols), dx = y, dw = guarded_zeros(cols), db = dw;
    scalar::layer_norm(x.data(), w.data(), b.data(), y.data(), kRows, cols, kEps);
    scalar::layer_norm_gradient(dy.data(), x.data(), w.data(), dx.data(), dw.data(), db.data(), kRows, cols, kEps);
    const std::string shape = " width " + std::to_string(cols);
    test::for_each_candidate(layer_norm_table, [&](auto* function, const std::string& name) {
      auto got = guarded_zeros(kRows * cols);
      function(x.data(), w.data(), b.data(), got.data(), kRows, cols, kEps);
      check_close(got, y, 1e-6, name + shape);
      CHECK(guarded(got), name + shape);
    });
    test::for_each_candidate(layer_norm_gradient_table, [&](auto* function, const std::string& name) {
      auto got = guarded_zeros(kRows * cols), got_dw = guarded_zeros(cols), got_db = got_dw;
      function(dy.data(), x.data(), w.data(), got.data(), got_dw.data(), got_db.data(), kRows, cols, kEps);
      check_close(got, dx, 4e-6, name + shape);
      check_close(got_dw, dw, 1e-6, name + shape + " dw");
      check_close(got_db, db, 1e-6, name + shape + " db");
      CHECK(guarded(got) && guarded(got_dw) && guarded(got_db), name + shape);
    });
  }
}

TEST("norms: gradients are finite differences, sums go on from what is there, any number of threads") {
  Random random(23);
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{5, 6}, {70, 3}, {3, 33}})
    for (const bool center : {false, true}) {
      const auto x = random.normals(rows * cols), w = random.normals(cols), b = random.normals(cols);
      const auto dy = random.normals(rows * cols), start = random.normals(cols);
      const std::string name =
          (center ? "layer_norm " : "rms_norm ") + std::to_string(rows) + " x " + std::to_string(cols);
      std::vector<double> attributes = {kEps};
      if (!center) attributes.push_back(0);
      Vectors begin = {std::vector<float>(x.size()), start};
      if (center) begin.push_back(start);
      const Vectors got = test::same_for_any_threads(begin, name, [&](ThreadPool& pool, Vectors& out) {
        std::vector<Tensor> outputs = {matrix(out[0], rows, cols), matrix(out[1], 1, cols)};
        if (center) outputs.push_back(matrix(out[2], 1, cols));
        test::run_operation(pool, center ? "layer_norm_gradient" : "rms_norm_gradient",
                            {matrix(dy, rows, cols), matrix(x, rows, cols), matrix(w, 1, cols)}, outputs, attributes);
      });
      const auto dx64 = test::to_double(x), w64 = test::to_double(w), b64 = test::to_double(b);
      check_close(got[0], test::finite_differences(x, [&](auto& v) { return normalized_sum(v, w64, b64, dy, center); }),
                  2e-5, name + " dx");
      auto dw = test::finite_differences(w, [&](auto& v) { return normalized_sum(dx64, v, b64, dy, center); });
      auto db = test::finite_differences(b, [&](auto& v) { return normalized_sum(dx64, w64, v, dy, center); });
      for (size_t j = 0; j < dw.size(); ++j) dw[j] += start[j], db[j] += start[j];
      check_close(got[1], dw, 1e-5, name + " dw");
      if (center) check_close(got[2], db, 1e-5, name + " db");
    }
}

TEST("norms: forward of many rows, with and without bias, any number of threads") {
  Random random(24);
  const int64_t rows = 300, cols = 130;
  const auto x = random.normals(rows * cols), w = random.normals(cols), b = random.normals(cols);
  const std::vector<float> zeros(static_cast<size_t>(cols));
  for (int kind = 0; kind < 3; ++kind) {
    std::vector<float> expected(x.size());
    if (kind == 0)
      scalar::rms_norm(x.data(), w.data(), expected.data(), rows, cols, kEps, 1);
    else
      scalar::layer_norm(x.data(), w.data(), kind == 1 ? b.data() : nullptr, expected.data(), rows, cols, kEps);
    const std::string name = kind == 0 ? "rms_norm" : "layer_norm";
    const Vectors start = {std::vector<float>(x.size())};
    const Vectors got = test::same_for_any_threads(start, name, [&](ThreadPool& pool, Vectors& out) {
      std::vector<Tensor> inputs = {matrix(x, rows, cols), matrix(w, 1, cols)};
      if (kind == 1) inputs.push_back(matrix(b, 1, cols));
      std::vector<double> attributes = {kEps};
      if (kind == 0) attributes.push_back(1);
      test::run_operation(pool, name.c_str(), inputs, {matrix(out[0], rows, cols)}, attributes);
    });
    check_close(got[0], expected, 1e-6, name);
  }
}

TEST("rms_norm: groups of columns are normalized like rows, weights count from the offset") {
  Random random(25);
  const int64_t rows = 90, groups = 5, cols = 18;
  const auto x = random.normals(rows * groups * cols), dy = random.normals(rows * groups * cols);
  const auto w = random.normals(cols), start = random.normals(cols);
  std::vector<float> shifted = w;
  for (float& value : shifted) value += 1;
  // the same numbers in shape [rows, groups · cols] with offset 1, and [rows · groups, cols] with w + 1
  const auto run = [&](int64_t across, const std::vector<float>& weight, double offset) {
    const int64_t down = rows * groups / across;
    const Vectors begin = {std::vector<float>(x.size()), std::vector<float>(x.size()), start};
    return test::same_for_any_threads(begin, "groups", [&](ThreadPool& pool, Vectors& out) {
      const Tensor in = matrix(x, down, across * cols), one = matrix(weight, 1, cols);
      test::run_operation(pool, "rms_norm", {in, one}, {matrix(out[0], down, across * cols)}, {kEps, offset});
      test::run_operation(pool, "rms_norm_gradient", {matrix(dy, down, across * cols), in, one},
                          {matrix(out[1], down, across * cols), matrix(out[2], 1, cols)}, {kEps, offset});
    });
  };
  const Vectors grouped = run(groups, w, 1), plain = run(1, shifted, 0);
  for (size_t i = 0; i < plain.size(); ++i) check_close(grouped[i], plain[i], 1e-6, "output " + std::to_string(i));

  std::vector<float> y(x.size());
  CHECK(test::throws("MBOK_SHAPE",
                     [&] {
                       test::run_operation(ThreadPool::shared(), "rms_norm",
                                           {matrix(x, rows * groups, cols), matrix(w, 1, 12)},
                                           {matrix(y, rows * groups, cols)}, {kEps, 0});
                     }),
        "12 does not divide 18");
}

}  // namespace
}  // namespace mbok
