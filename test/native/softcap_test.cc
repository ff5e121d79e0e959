// Soft caps.
#include "gradient_check.h"
#include "kernels/softcap/softcap.h"

namespace mbok {
namespace {

using test::matrix;
using test::Random;
using Vectors = std::vector<std::vector<float>>;

TEST("softcap: every candidate agrees with the reference element by element, also in place, and keeps NaN") {
  Random random(81);
  for (const int64_t count : {1, 7, 8, 15, 16, 17, 100, 1003})
    for (const float cap : {0.5f, 30.0f}) {
      auto x = random.normals(count), dy = random.normals(count);
      for (float& value : x) value *= 20;
      x[0] = -1e30f;
      std::vector<float> y(x.size()), dx(x.size());
      scalar::softcap(cap, x.data(), y.data(), count);
      scalar::softcap_gradient(cap, dy.data(), x.data(), dx.data(), count);
      CHECK(y[0] == -cap && dx[0] == 0, "far beyond the cap");
      const auto check = [&](const std::vector<float>& got, const std::vector<float>& expected, std::string name) {
        name += " " + std::to_string(count);
        for (size_t i = 0; i < got.size(); ++i)
          CHECK(std::fabs(got[i] - expected[i]) <= 1e-6 * std::fabs(expected[i]) + 1e-37, name);
      };
      test::for_each_candidate(softcap_table, [&](auto* function, const std::string& name) {
        std::vector<float> got = x;
        function(cap, got.data(), got.data(), count);
        check(got, y, name);
        got[0] = NAN;
        function(cap, got.data(), got.data(), count);
        CHECK(std::isnan(got[0]), name);
      });
      test::for_each_candidate(softcap_gradient_table, [&](auto* function, const std::string& name) {
        std::vector<float> got = dy;
        function(cap, got.data(), x.data(), got.data(), count);
        check(got, dx, name);
      });
    }
}

TEST("softcap: the gradient is finite differences of the function, over many tasks and any number of threads") {
  Random random(82);
  const int64_t rows = 170, cols = 211;
  const auto x = random.normals(rows * cols), dy = random.normals(rows * cols);
  const Vectors start = {std::vector<float>(x.size()), std::vector<float>(x.size())};
  const Vectors got = test::same_for_any_threads(start, "softcap", [&](ThreadPool& pool, Vectors& out) {
    const Tensor in = matrix(x, rows, cols);
    test::run_operation(pool, "softcap", {in}, {matrix(out[0], rows, cols)}, {1.5});
    test::run_operation(pool, "softcap_gradient", {matrix(dy, rows, cols), in}, {matrix(out[1], rows, cols)}, {1.5});
  });
  for (size_t i = 0; i < x.size(); ++i) {
    const auto value = [](double at) { return 1.5 * std::tanh(at / 1.5); };
    CHECK(std::fabs(got[0][i] - value(x[i])) <= 1e-6, "value");
    const double slope = (value(x[i] + 1e-5) - value(x[i] - 1e-5)) / 2e-5;
    CHECK(std::fabs(got[1][i] - dy[i] * slope) <= 1e-6 * (1 + std::fabs(dy[i])), "slope");
  }
  for (const double cap : {0.0, -1.0})
    CHECK(test::throws("MBOK_SHAPE",
                       [&] {
                         std::vector<float> y(4);
                         test::run_operation(ThreadPool::shared(), "softcap", {matrix(y, 2, 2)}, {matrix(y, 2, 2)},
                                             {cap});
                       }),
          "a cap must be positive");
}

}  // namespace
}  // namespace mbok
