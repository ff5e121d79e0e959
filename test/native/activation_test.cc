// Activations, plain and gated.
#include "gradient_check.h"
#include "kernels/activation/activation.h"
#include "kernels/gated_activation/gated_activation.h"

namespace mbok {
namespace {

using test::check_close;
using test::matrix;
using test::Random;
using Vectors = std::vector<std::vector<float>>;

const char* const kNames[] = {"silu", "gelu", "gelu_tanh", "relu"};

// Far below zero GELU's Φ(x) = (1 + erf) / 2 cancels: its error is that of numbers near 1, times x.
void check_elements(const std::vector<float>& got, const std::vector<float>& expected, const std::string& name) {
  for (size_t i = 0; i < got.size(); ++i)
    CHECK(std::fabs(got[i] - expected[i]) <= 1e-6 * (1 + std::fabs(expected[i])), name + ": " + std::to_string(got[i]));
}

TEST("activation: values of the functions") {
  struct Row {
    double x, silu, gelu, gelu_tanh;
  };
  // Python: x / (1 + exp(-x)), x / 2 * erfc(-x / sqrt(2)), x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))
  const Row rows[] = {{-3, -0.14227761953270035, -0.004049694094890287, -0.0036373920817729943},
                      {-0.5, -0.1887703343990727, -0.15426876936299344, -0.15428599017485606},
                      {2, 1.7615941559557646, 1.9544997361036416, 1.954597694087775}};
  for (const Row& row : rows) {
    CHECK(std::fabs(scalar::activation_value(ActivationKind::kSilu, row.x) - row.silu) < 1e-12, std::to_string(row.x));
    CHECK(std::fabs(scalar::activation_value(ActivationKind::kGelu, row.x) - row.gelu) < 1e-12, std::to_string(row.x));
    CHECK(std::fabs(scalar::activation_value(ActivationKind::kGeluTanh, row.x) - row.gelu_tanh) < 1e-12,
          std::to_string(row.x));
  }
}

TEST("activation: slopes are finite differences of the functions") {
  for (int kind = 0; kind < kActivationKinds; ++kind)
    for (double x = -6.05; x < 6; x += 0.1) {
      const ActivationKind k = static_cast<ActivationKind>(kind);
      const double slope = (scalar::activation_value(k, x + 1e-5) - scalar::activation_value(k, x - 1e-5)) / 2e-5;
      CHECK(std::fabs(scalar::activation_slope(k, x) - slope) < 1e-8,
            std::string(kNames[kind]) + " " + std::to_string(x));
    }
}

TEST("activation: every candidate agrees with the reference for any count, also in place, and keeps NaN") {
  Random random(41);
  for (int kind = 0; kind < kActivationKinds; ++kind)
    for (const int64_t count : {1, 3, 7, 8, 9, 16, 17, 31, 100, 1003}) {
      const ActivationKind k = static_cast<ActivationKind>(kind);
      auto x = random.normals(count), dy = random.normals(count), up = random.normals(count);
      for (float& value : x) value *= 4;
      std::vector<float> y(x.size()), dx(x.size()), gated(x.size()), dgate(x.size()), dup(x.size());
      scalar::activation(k, x.data(), y.data(), count);
      scalar::activation_gradient(k, dy.data(), x.data(), dx.data(), count);
      scalar::gated_activation(k, x.data(), up.data(), gated.data(), count);
      scalar::gated_activation_gradient(k, dy.data(), x.data(), up.data(), dgate.data(), dup.data(), count);
      const std::string shape = std::string(" ") + kNames[kind] + " " + std::to_string(count);
      test::for_each_candidate(activation_table, [&](auto* function, const std::string& name) {
        std::vector<float> got = x;
        function(k, got.data(), got.data(), count);
        check_elements(got, y, name + shape);
        got[0] = NAN;
        function(k, got.data(), got.data(), count);
        CHECK(std::isnan(got[0]), name + shape);
      });
      test::for_each_candidate(activation_gradient_table, [&](auto* function, const std::string& name) {
        std::vector<float> got = dy;
        function(k, got.data(), x.data(), got.data(), count);
        check_elements(got, dx, name + shape);
      });
      test::for_each_candidate(gated_activation_table, [&](auto* function, const std::string& name) {
        std::vector<float> got = x;
        function(k, got.data(), up.data(), got.data(), count);
        check_elements(got, gated, name + shape);
      });
      test::for_each_candidate(gated_activation_gradient_table, [&](auto* function, const std::string& name) {
        std::vector<float> gate = x, got_up = up;
        function(k, dy.data(), gate.data(), got_up.data(), gate.data(), got_up.data(), count);
        check_elements(gate, dgate, name + shape);
        check_elements(got_up, dup, name + shape);
      });
    }
}

TEST("activation: operations over many tasks, any number of threads") {
  Random random(42);
  const int64_t rows = 170, cols = 211;
  const auto x = random.normals(rows * cols), up = random.normals(rows * cols), dy = random.normals(rows * cols);
  const std::vector<float> empty(x.size());
  for (int kind = 0; kind < kActivationKinds; ++kind) {
    const ActivationKind k = static_cast<ActivationKind>(kind);
    const auto run = [&](const char* name, const std::vector<std::vector<float>>& inputs, size_t outputs) {
      return test::same_for_any_threads(Vectors(outputs, empty), name, [&](ThreadPool& pool, Vectors& out) {
        std::vector<Tensor> in, to;
        for (const auto& values : inputs) in.push_back(matrix(values, rows, cols));
        for (const auto& values : out) to.push_back(matrix(values, rows, cols));
        test::run_operation(pool, name, in, to, {static_cast<double>(kind)});
      });
    };
    std::vector<float> a = empty, b = empty;
    scalar::activation(k, x.data(), a.data(), rows * cols);
    check_close(run("activation", {x}, 1)[0], a, 2e-6, kNames[kind]);
    scalar::activation_gradient(k, dy.data(), x.data(), a.data(), rows * cols);
    check_close(run("activation_gradient", {dy, x}, 1)[0], a, 2e-6, kNames[kind]);
    scalar::gated_activation(k, x.data(), up.data(), a.data(), rows * cols);
    check_close(run("gated_activation", {x, up}, 1)[0], a, 2e-6, kNames[kind]);
    scalar::gated_activation_gradient(k, dy.data(), x.data(), up.data(), a.data(), b.data(), rows * cols);
    const Vectors gradients = run("gated_activation_gradient", {dy, x, up}, 2);
    check_close(gradients[0], a, 2e-6, kNames[kind]);
    check_close(gradients[1], b, 2e-6, kNames[kind]);
  }
}

}  // namespace
}  // namespace mbok
