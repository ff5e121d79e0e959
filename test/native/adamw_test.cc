// AdamW and the small operations of a training step.
#include "kernels/adamw/adamw.h"
#include "run.h"
#include "test.h"

namespace mbok {
namespace {

using test::matrix;
using test::Random;
using test::one_thread;
using test::run_operation;
using test::three_threads;

TEST("AdamW: every candidate gives scalar's bits") {
  Random random(1);
  const AdamwStep step = {0.3f, 0.999f, 0.9f, 0.95f, 0.1f, 0.05f, 1e-2f, 1.7f, 1e-8f};
  for (const int64_t count : {1, 7, 8, 15, 16, 17, 100, 1001}) {
    const std::vector<float> g = random.normals(count), p = random.normals(count), m = random.normals(count);
    std::vector<float> v = random.normals(count);
    for (float& x : v) x *= x;
    std::vector<float> p0 = p, m0 = m, v0 = v;
    scalar::adamw(g.data(), p0.data(), m0.data(), v0.data(), count, step);
    for (const auto& candidate : adamw_table.candidates()) {
      if (!candidate.supported()) continue;
      std::vector<float> p1 = p, m1 = m, v1 = v;
      candidate.function(g.data(), p1.data(), m1.data(), v1.data(), count, step);
      CHECK(p1 == p0 && m1 == m0 && v1 == v0, candidate.name);
    }
  }
}

TEST("AdamW: twenty steps with decay and clipping follow the definition") {
  Random random(2);
  const int64_t rows = 3, cols = 7001, size = rows * cols;
  const double beta1 = 0.9, beta2 = 0.95, eps = 1e-8, decay = 0.1, clip = 1.0;
  std::vector<float> p = random.normals(size), m(static_cast<size_t>(size)), v = m, norm(1);
  std::vector<float> threaded_p = p, threaded_m = m, threaded_v = v;
  std::vector<double> dp(p.begin(), p.end()), dm(p.size()), dv(p.size());
  for (int t = 1; t <= 20; ++t) {
    std::vector<float> g = random.normals(size);
    for (float& x : g) x *= t % 3 == 0 ? 1e-4f : 0.1f;  // below and above the clipping norm
    run_operation(three_threads(), "gradient_norm", {matrix(g, rows, cols)}, {matrix(norm, 1, 1)}, {});
    double squares = 0;
    for (const float x : g) squares += static_cast<double>(x) * x;
    CHECK(std::fabs(norm[0] / std::sqrt(squares) - 1) < 1e-6, "norm");
    Scalars scalars;
    scalars.learning_rate = 1e-2 / t;
    scalars.step = t;
    const std::vector<Tensor> inputs = {matrix(g, rows, cols), matrix(norm, 1, 1)};
    run_operation(one_thread(), "adamw", inputs, {matrix(p, rows, cols), matrix(m, rows, cols), matrix(v, rows, cols)},
                  {beta1, beta2, eps, decay, clip}, scalars);
    run_operation(three_threads(), "adamw", inputs,
                  {matrix(threaded_p, rows, cols), matrix(threaded_m, rows, cols), matrix(threaded_v, rows, cols)},
                  {beta1, beta2, eps, decay, clip}, scalars);
    const double scale = std::min(1.0, clip / (std::sqrt(squares) + 1e-6));
    for (size_t i = 0; i < dp.size(); ++i) {
      const double x = g[i] * scale;
      dp[i] *= 1 - scalars.learning_rate * decay;
      dm[i] = beta1 * dm[i] + (1 - beta1) * x;
      dv[i] = beta2 * dv[i] + (1 - beta2) * x * x;
      const double corrected_m = dm[i] / (1 - std::pow(beta1, t)), corrected_v = dv[i] / (1 - std::pow(beta2, t));
      dp[i] -= scalars.learning_rate * corrected_m / (std::sqrt(corrected_v) + eps);
    }
  }
  CHECK(test::relative_error(p, std::vector<float>(dp.begin(), dp.end())) < 1e-6, "p");
  CHECK(p == threaded_p && m == threaded_m && v == threaded_v, "1 and 3 threads differ");
}

TEST("AdamW without clipping needs no norm") {
  std::vector<float> g = {1, -2}, p = {1, 1}, m(2), v(2);
  Scalars scalars;
  scalars.learning_rate = 0.5;
  run_operation(one_thread(), "adamw", {matrix(g, 1, 2)}, {matrix(p, 1, 2), matrix(m, 1, 2), matrix(v, 1, 2)},
                {0.9, 0.999, 0, 0, 0}, scalars);
  CHECK(std::fabs(p[0] - 0.5f) < 1e-6f, "the first step has the size of the learning rate");
  CHECK(std::fabs(p[1] - 1.5f) < 1e-6f, "against the sign of the gradient");
}

TEST("gradient norm: over several tensors, the same bits for any number of threads") {
  Random random(3);
  const std::vector<float> a = random.normals(40003), b = random.normals(17), c = random.normals(3 * 20000);
  std::vector<float> norm(1), threaded(1);
  const std::vector<Tensor> inputs = {matrix(a, 1, 40003), matrix(b, 17, 1), matrix(c, 3, 20000)};
  run_operation(one_thread(), "gradient_norm", inputs, {matrix(norm, 1, 1)}, {});
  run_operation(three_threads(), "gradient_norm", inputs, {matrix(threaded, 1, 1)}, {});
  double squares = 0;
  for (const auto* list : {&a, &b, &c})
    for (const float x : *list) squares += static_cast<double>(x) * x;
  CHECK(std::fabs(norm[0] / std::sqrt(squares) - 1) < 1e-7, "norm");
  CHECK(norm == threaded, "1 and 3 threads differ");
}

TEST("zero, scale, weighted sum and the loss seed") {
  Random random(4);
  std::vector<float> x = random.normals(50001), y = x;
  run_operation(three_threads(), "scale", {matrix(x, 3, 16667)}, {matrix(y, 3, 16667)}, {-0.5});
  bool scaled = true;
  for (size_t i = 0; i < x.size(); ++i) scaled = scaled && y[i] == -0.5f * x[i];
  CHECK(scaled, "scale");
  std::vector<uint64_t> bits = random.bits(900, 1000);
  run_operation(three_threads(), "zero", {}, {{bits.data(), 900, 1000, TensorType::kBits}}, {});
  bool cleared = true;
  for (const uint64_t word : bits) cleared = cleared && word == 0;
  CHECK(cleared, "zero");
  std::vector<float> a = {2}, b = {-3}, sum(1), seed(1);
  run_operation(one_thread(), "weighted_sum", {matrix(a, 1, 1), matrix(b, 1, 1)}, {matrix(sum, 1, 1)}, {1, 10});
  CHECK(sum[0] == -28, "weighted sum");
  Scalars scalars;
  scalars.loss_scale = 0.25;
  run_operation(one_thread(), "loss_seed", {}, {matrix(seed, 1, 1)}, {}, scalars);
  CHECK(seed[0] == 0.25f, "seed");
}

TEST("a loss that is not finite stops the step with MBOK_NON_FINITE") {
  for (const float loss : {NAN, INFINITY, -INFINITY}) {
    std::string code;
    try {
      run_operation(one_thread(), "require_finite", {matrix({loss}, 1, 1)}, {}, {});
    } catch (const Error& error) {
      code = error.code();
    }
    CHECK(code == "MBOK_NON_FINITE", code);
  }
  run_operation(one_thread(), "require_finite", {matrix({3.5f}, 1, 1)}, {}, {});
}

}  // namespace
}  // namespace mbok
