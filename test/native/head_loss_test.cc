// The head with its loss, chunk by chunk, against linear, softcap and the losses on logits in memory.
#include <algorithm>
#include <cmath>

#include "gradient_check.h"

namespace mbok {
namespace {

using test::check_close;
using test::integers;
using test::matrix;
using test::Random;
using test::run_operation;
using Vectors = std::vector<std::vector<float>>;

const Tensor kNone = {};

struct Head {
  int64_t rows, h, teacher_h, vocabulary;
  double cap, teacher_cap;
  std::string name() const {
    return std::to_string(rows) + " × " + std::to_string(h) + " × " + std::to_string(vocabulary) + " cap " +
           std::to_string(cap);
  }
};

// 600 rows take two chunks: of 2²⁴ logits, but at least 528 rows.
const Head kHeads[] = {
    {1, 3, 4, 5, 0, 0},       {20, 17, 9, 70, 2, 0},    {50, 8, 8, 131, 1.5, 2},
    {600, 4, 6, 33001, 0, 0}, {521, 3, 3, 33000, 2, 3},
};

struct Case {
  Case(const Head& head, Random& random) : head(head) {
    x = random.normals(head.rows * head.h);
    w = random.normals(head.vocabulary * head.h);
    teacher_x = random.normals(head.rows * head.teacher_h);
    teacher_w = random.normals(head.vocabulary * head.teacher_h);
    for (int64_t r = 0; r < head.rows; ++r)
      targets.push_back(r % 3 == 1 ? -1 : static_cast<int32_t>(random.integer(0, head.vocabulary - 1)));
  }
  Tensor states() const { return matrix(x, head.rows, head.h); }
  Tensor weights() const { return matrix(w, head.vocabulary, head.h); }
  Tensor teacher_states() const { return matrix(teacher_x, head.rows, head.teacher_h); }
  Tensor teacher_weights() const { return matrix(teacher_w, head.vocabulary, head.teacher_h); }

  Head head;
  std::vector<float> x, w, teacher_x, teacher_w, seed = {0.7f};
  std::vector<int32_t> targets;
};

// Returns loss, values, dx and dw of the operation; dw starts at one.
Vectors fused(const Case& c, const std::vector<Tensor>& judge, const std::string& name) {
  const Head& head = c.head;
  const std::vector<float> ones(c.w.size(), 1), empty(c.x.size());
  const Vectors start = {{0}, std::vector<float>(static_cast<size_t>(head.rows)), empty, ones};
  return test::same_for_any_threads(start, name, [&](ThreadPool& pool, Vectors& out) {
    std::vector<Tensor> inputs = {c.states(), c.weights(), kNone, matrix(c.seed, 1, 1)};
    inputs.insert(inputs.end(), judge.begin(), judge.end());
    run_operation(pool, "head_loss", inputs,
                  {matrix(out[0], 1, 1), matrix(out[1], head.rows, 1), matrix(out[2], head.rows, head.h),
                   matrix(out[3], head.vocabulary, head.h)},
                  {0, head.cap, head.teacher_cap});
  });
}

struct Logits {
  std::vector<float> raw, capped;
};

Logits logits_of(const Tensor& x, const Tensor& w, double cap) {
  Logits z = {std::vector<float>(static_cast<size_t>(x.rows * w.rows)), {}};
  ThreadPool& pool = ThreadPool::shared();
  run_operation(pool, "linear", {x, w}, {matrix(z.raw, x.rows, w.rows)}, {0});
  z.capped = z.raw;
  if (cap > 0)
    run_operation(pool, "softcap", {matrix(z.raw, x.rows, w.rows)}, {matrix(z.capped, x.rows, w.rows)}, {cap});
  return z;
}

// Returns dx and dw from the gradient of the capped logits.
Vectors through_head(const Case& c, const Logits& z, std::vector<float> dz) {
  const Head& head = c.head;
  ThreadPool& pool = ThreadPool::shared();
  const Tensor gradient = matrix(dz, head.rows, head.vocabulary);
  if (head.cap > 0)
    run_operation(pool, "softcap_gradient", {gradient, matrix(z.raw, head.rows, head.vocabulary)}, {gradient},
                  {head.cap});
  Vectors out = {std::vector<float>(c.x.size()), std::vector<float>(c.w.size(), 1)};
  run_operation(pool, "linear_gradient_input", {gradient, c.weights()}, {matrix(out[0], head.rows, head.h)}, {0});
  run_operation(pool, "linear_gradient_weight", {gradient, c.states()}, {matrix(out[1], head.vocabulary, head.h)}, {0});
  return out;
}

void compare(const Vectors& got, float loss, const Vectors& expected, const std::string& name) {
  CHECK(std::fabs(got[0][0] - loss) <= 2e-6 * (1 + std::fabs(loss)), name + " loss");
  check_close(got[2], expected[0], 2e-5, name + " dx");
  check_close(got[3], expected[1], 2e-5, name + " dw");
}

TEST("head_loss: cross-entropy is that of logits which exist whole") {
  Random random(81);
  for (const Head& head : kHeads) {
    const Case c(head, random);
    const std::string name = "cross-entropy " + head.name();
    const Vectors got = fused(c, {integers(c.targets)}, name);
    const Logits z = logits_of(c.states(), c.weights(), head.cap);
    const Tensor logits = matrix(z.capped, head.rows, head.vocabulary);
    std::vector<float> loss(1), values(static_cast<size_t>(head.rows)), dz(z.raw.size());
    ThreadPool& pool = ThreadPool::shared();
    run_operation(pool, "cross_entropy", {logits, integers(c.targets)},
                  {matrix(loss, 1, 1), matrix(values, head.rows, 1)}, {});
    run_operation(pool, "cross_entropy_gradient", {logits, integers(c.targets), matrix(c.seed, 1, 1)},
                  {matrix(dz, head.rows, head.vocabulary)}, {});
    compare(got, loss[0], through_head(c, z, dz), name);
    check_close(got[1], values, 1e-6, name + " values");
  }
}

TEST("head_loss: divergence from a teacher is that of logits which exist whole") {
  Random random(82);
  for (const Head& head : kHeads) {
    const Case c(head, random);
    const std::string name = "divergence " + head.name();
    const Vectors got = fused(c, {kNone, c.teacher_states(), c.teacher_weights(), kNone}, name);
    const Logits z = logits_of(c.states(), c.weights(), head.cap);
    const Logits t = logits_of(c.teacher_states(), c.teacher_weights(), head.teacher_cap);
    const Tensor student = matrix(z.capped, head.rows, head.vocabulary),
                 teacher = matrix(t.capped, head.rows, head.vocabulary);
    std::vector<float> loss(1), dz(z.raw.size());
    ThreadPool& pool = ThreadPool::shared();
    run_operation(pool, "kl_divergence", {student, teacher}, {matrix(loss, 1, 1)}, {});
    run_operation(pool, "kl_divergence_gradient", {student, teacher, matrix(c.seed, 1, 1)},
                  {matrix(dz, head.rows, head.vocabulary)}, {});
    compare(got, loss[0], through_head(c, z, dz), name);
  }
}

double log_sum(const std::vector<double>& x) {
  double largest = -INFINITY, sum = 0;
  for (const double value : x) largest = std::fmax(largest, value);
  for (const double value : x) sum += std::exp(value - largest);
  return largest + std::log(sum);
}

// Returns kept, ids, error.
Vectors top_tokens(const Head& head, const Tensor& x, const Tensor& w, double cap, int64_t k) {
  const auto of = [&](int64_t cols) { return std::vector<float>(static_cast<size_t>(head.rows * cols)); };
  return test::same_for_any_threads({of(k + 1), of(k), of(1)}, "top tokens", [&](ThreadPool& pool, Vectors& out) {
    run_operation(pool, "head_top_tokens", {x, w},
                  {matrix(out[0], head.rows, k + 1), matrix(out[1], head.rows, k), matrix(out[2], head.rows, 1)},
                  {0, cap, static_cast<double>(k)});
  });
}

TEST("head_loss: divergence from kept tokens is that of a distribution with all others as one") {
  Random random(83);
  for (const Head& head : {kHeads[1], kHeads[2], Head{70, 5, 4, 900, 2, 0}}) {
    const Case c(head, random);
    const int64_t k = 7;
    const std::string name = "kept " + head.name();
    Vectors top = top_tokens(head, c.teacher_states(), c.teacher_weights(), head.teacher_cap, k);
    std::vector<float>& kept = top[0];
    std::vector<int32_t> whole(top[1].begin(), top[1].end());
    const Tensor kept_ids = {whole.data(), head.rows, k, TensorType::kI32};
    const Vectors got = fused(c, {kNone, kNone, kNone, kNone, matrix(kept, head.rows, k + 1), kept_ids}, name);
    const Logits z = logits_of(c.states(), c.weights(), head.cap);
    double loss = 0;
    std::vector<float> dz(z.raw.size());
    for (int64_t r = 0; r < head.rows; ++r) {
      const auto row = static_cast<size_t>(r * head.vocabulary);
      const std::vector<double> all(z.capped.begin() + static_cast<int64_t>(row),
                                    z.capped.begin() + static_cast<int64_t>(row) + head.vocabulary);
      const double sum = log_sum(all);
      std::vector<double> others = all;
      for (int64_t i = 0; i < k; ++i) others[static_cast<size_t>(whole[static_cast<size_t>(r * k + i)])] = -INFINITY;
      const double rest = log_sum(others) - sum, log_left = kept[static_cast<size_t>(r * (k + 1) + k)];
      loss += std::exp(log_left) * (log_left - rest);
      const double share = std::exp(rest) - std::exp(log_left);
      for (size_t j = 0; j < all.size(); ++j)
        dz[row + j] =
            static_cast<float>(0.7 / static_cast<double>(head.rows) * std::exp(others[j] - sum - rest) * share);
      for (int64_t i = 0; i < k; ++i) {
        const auto id = static_cast<size_t>(whole[static_cast<size_t>(r * k + i)]);
        const double log_p = kept[static_cast<size_t>(r * (k + 1) + i)];
        loss += std::exp(log_p) * (log_p - (all[id] - sum));
        dz[row + id] =
            static_cast<float>(0.7 / static_cast<double>(head.rows) * (std::exp(all[id] - sum) - std::exp(log_p)));
      }
    }
    compare(got, static_cast<float>(loss / static_cast<double>(head.rows)), through_head(c, z, dz), name);
  }
}

TEST("head_top_tokens: keeps the likeliest in order and tells what that costs") {
  Random random(84);
  for (const Head& head : {Head{5, 30, 0, 40, 0, 0}, {130, 9, 0, 300, 2, 0}, {60, 4, 0, 5003, 0, 0}}) {
    Case c(head, random);
    const int64_t k = 6, cols = head.vocabulary;
    // ties: the first id comes first, also among logits that the cap makes equal
    for (const int64_t token : {cols - 1, int64_t{3}})
      for (int64_t i = 0; i < head.h; ++i)
        c.w[static_cast<size_t>(token * head.h + i)] = 9 * c.x[static_cast<size_t>(i)];
    const Vectors got = top_tokens(head, c.states(), c.weights(), head.cap, k);
    CHECK(got[1][0] == 3 && (head.cap > 0 || got[1][1] == static_cast<float>(cols - 1)), "equals");
    const std::vector<float> logits = logits_of(c.states(), c.weights(), head.cap).capped;
    for (int64_t r = 0; r < head.rows; ++r) {
      const std::vector<double> row(logits.begin() + r * cols, logits.begin() + (r + 1) * cols);
      const double sum = log_sum(row);
      std::vector<double> log_q(row.size(),
                                got[0][static_cast<size_t>(r * (k + 1) + k)] - std::log(static_cast<double>(cols - k)));
      double least = INFINITY;
      for (int64_t i = 0; i < k; ++i) {
        const auto id = static_cast<size_t>(got[1][static_cast<size_t>(r * k + i)]);
        CHECK(std::fabs(got[0][static_cast<size_t>(r * (k + 1) + i)] - (row[id] - sum)) <=
                  3e-3 * (1 + std::fabs(row[id] - sum)),
              "a logarithm in f16");
        log_q[id] = got[0][static_cast<size_t>(r * (k + 1) + i)];
        CHECK(row[id] <= least + 1e-5, "order");
        least = row[id];
      }
      int64_t likelier = 0;
      for (const double z : row) likelier += z > least + 1e-5;
      CHECK(likelier < k, "all of the likeliest");
      double expected = 0;
      for (size_t j = 0; j < row.size(); ++j) expected += std::exp(row[j] - sum) * (row[j] - sum - log_q[j]);
      CHECK(std::fabs(got[2][static_cast<size_t>(r)] - expected) <= 1e-5 * (1 + std::fabs(sum)), "error");
    }
  }
}

TEST("head_top_tokens: ids are ids even of a broken row") {
  Random random(91);
  const Head head = {3, 4, 0, 300, 0, 0};
  Case c(head, random);
  c.x[5] = NAN;
  const Vectors got = top_tokens(head, c.states(), c.weights(), 0, 6);
  for (const float id : got[1]) CHECK(id >= 0 && id < 300, "id");
  CHECK(std::isnan(got[2][1]) && !std::isnan(got[2][0]), "error");
}

// Returns values, likeliest.
Vectors likelihoods(const Head& head, const Tensor& x, const Tensor& w, const Tensor& targets, const Tensor& scales,
                    double precision) {
  const std::vector<float> start(static_cast<size_t>(head.rows), 7);
  return test::same_for_any_threads({start, start}, "head_likelihood " + head.name(),
                                    [&](ThreadPool& pool, Vectors& out) {
                                      run_operation(pool, "head_likelihood", {x, w, targets, scales},
                                                    {matrix(out[0], head.rows, 1), matrix(out[1], head.rows, 1)},
                                                    {precision, head.cap});
                                    });
}

TEST("head_loss: in bf16 the same within its rounding, where the gradient is formed as it is read or stored") {
  Random random(92);
  const Head head = {130, 40, 24, 1500, 3, 2};
  const Case c(head, random);
  std::vector<float> kept(static_cast<size_t>(head.rows * 4), std::log(0.25f));
  std::vector<int32_t> ids;
  for (int64_t r = 0; r < head.rows; ++r)
    for (const int64_t i : {r + 700, r, r + 640}) ids.push_back(static_cast<int32_t>(i));
  const Tensor kept_ids = {ids.data(), head.rows, 3, TensorType::kI32};
  const std::vector<std::vector<Tensor>> judges = {{integers(c.targets)},
                                                   {kNone, c.teacher_states(), c.teacher_weights(), kNone},
                                                   {kNone, kNone, kNone, kNone, matrix(kept, head.rows, 4), kept_ids}};
  for (size_t i = 0; i < judges.size(); ++i) {
    const std::string name = "judge " + std::to_string(i);
    const Vectors expected = fused(c, judges[i], name);
    const auto in_bf16 = [&](bool with_dw) {
      const std::vector<float> ones(c.w.size(), 1), empty(c.x.size());
      return test::same_for_any_threads({{0}, empty, ones}, name, [&](ThreadPool& pool, Vectors& out) {
        std::vector<Tensor> inputs = {c.states(), c.weights(), kNone, matrix(c.seed, 1, 1)};
        inputs.insert(inputs.end(), judges[i].begin(), judges[i].end());
        run_operation(pool, "head_loss", inputs,
                      {matrix(out[0], 1, 1), kNone, matrix(out[1], head.rows, head.h),
                       with_dw ? matrix(out[2], head.vocabulary, head.h) : kNone},
                      {1, head.cap, head.teacher_cap});
      });
    };
    const Vectors read = in_bf16(false), stored = in_bf16(true);
    CHECK(std::fabs(read[0][0] - expected[0][0]) <= 1e-2 * (1 + std::fabs(expected[0][0])), name + " loss");
    check_close(read[1], expected[2], 2e-2, name + " dx");
    check_close(stored[1], read[1], 1e-6, name + " dx, stored");
    check_close(stored[2], expected[3], 2e-2, name + " dw");
  }
}

// Operands are exact in bf16, so that results differ from f32 products only by the rounding of logits and gradients.
TEST("head_loss: in bf16 logits without a cap wait in 16 bits, and gradients are as exact as bf16") {
  Random random(93);
  for (const Head& head : {Head{70, 16, 24, 1500, 0, 0}, Head{1200, 4, 6, 17001, 0, 0}}) {
    Case c(head, random);
    for (std::vector<float>* values : {&c.x, &c.w, &c.teacher_x, &c.teacher_w})
      for (float& value : *values) value = std::round(value * 32) / 16;
    // a row that is nearly certain: its gradient is a small difference
    const auto target = static_cast<size_t>(c.targets[0]);
    std::copy_n(c.x.begin(), head.h, c.w.begin() + static_cast<int64_t>(target) * head.h);
    for (int64_t j = 0; j < head.h; ++j) c.w[target * static_cast<size_t>(head.h) + static_cast<size_t>(j)] *= 2;
    std::vector<float> kept(static_cast<size_t>(head.rows * 3), std::log(1.0f / 3));
    std::vector<int32_t> ids;
    for (int64_t r = 0; r < head.rows; ++r)
      for (const int64_t i : {r + 280, r}) ids.push_back(static_cast<int32_t>(i));
    const Tensor kept_ids = {ids.data(), head.rows, 2, TensorType::kI32};
    const std::vector<std::vector<Tensor>> judges = {{integers(c.targets)},
                                                     {kNone, c.teacher_states(), c.teacher_weights(), kNone},
                                                     {kNone, kNone, kNone, kNone, matrix(kept, head.rows, 3),
                                                      kept_ids}};
    for (size_t i = 0; i < judges.size(); ++i) {
      const std::string name = head.name() + " judge " + std::to_string(i);
      const auto in = [&](double precision) {
        const std::vector<float> empty(c.x.size()), values(static_cast<size_t>(head.rows));
        return test::same_for_any_threads({{0}, values, empty}, name, [&](ThreadPool& pool, Vectors& out) {
          std::vector<Tensor> inputs = {c.states(), c.weights(), kNone, matrix(c.seed, 1, 1)};
          inputs.insert(inputs.end(), judges[i].begin(), judges[i].end());
          run_operation(pool, "head_loss", inputs,
                        {matrix(out[0], 1, 1), matrix(out[1], head.rows, 1), matrix(out[2], head.rows, head.h)},
                        {precision, 0, 0});
        });
      };
      const Vectors expected = in(0), got = in(1);
      CHECK(std::fabs(got[0][0] - expected[0][0]) <= 1e-3 * (1 + std::fabs(expected[0][0])), name + " loss");
      check_close(got[2], expected[2], 4e-3, name + " dx");
    }
  }
}

TEST("head_likelihood: is that of logits which exist whole") {
  Random random(86);
  ThreadPool& pool = ThreadPool::shared();
  for (const Head& head : {Head{1, 3, 0, 1, 0, 0},
                           {1, 3, 0, 5, 0, 0},
                           {20, 17, 0, 255, 2, 0},
                           {50, 8, 0, 257, 1.5, 0},
                           {130, 700, 0, 1300, 0, 0},
                           {461, 4, 0, 9001, 30, 0}}) {
    const Case c(head, random);
    for (const double precision : {0.0, 1.0}) {
      const Vectors got = likelihoods(head, c.states(), c.weights(), integers(c.targets), kNone, precision);
      const Logits z = logits_of(c.states(), c.weights(), head.cap);
      std::vector<float> loss(1), values(static_cast<size_t>(head.rows));
      run_operation(pool, "cross_entropy", {matrix(z.capped, head.rows, head.vocabulary), integers(c.targets)},
                    {matrix(loss, 1, 1), matrix(values, head.rows, 1)}, {});
      check_close(got[0], values, precision == 0 ? 1e-6 : 1e-2, head.name());
      for (int64_t r = 0; precision == 0 && r < head.rows; ++r) {
        const float* const row = z.capped.data() + r * head.vocabulary;
        const int32_t target = c.targets[static_cast<size_t>(r)];
        const float largest = *std::max_element(row, row + head.vocabulary);
        // sums of few rows have another order
        if (target >= 0 && std::fabs(row[target] - largest) > 0 && std::fabs(row[target] - largest) < 1e-5f) continue;
        const bool likeliest = target < 0 || row[target] == largest;
        CHECK(got[1][static_cast<size_t>(r)] == (likeliest ? 1.0f : 0.0f), "likeliest " + head.name());
      }
    }
  }
}

TEST("head_likelihood: weights in 8 bits are those in f32, equals are both the likeliest") {
  Random random(87);
  const Head head = {9, 30, 0, 400, 0, 0};
  Case c(head, random);
  std::vector<int8_t> numbers(c.w.size());
  std::vector<float> scales(static_cast<size_t>(head.vocabulary)), wide(c.w.size());
  for (float& scale : scales) scale = static_cast<float>(random.integer(1, 50)) / 64;
  for (size_t i = 0; i < numbers.size(); ++i) {
    // the last token equals the first
    const size_t from = i % static_cast<size_t>(head.h);
    numbers[i] = i / static_cast<size_t>(head.h) == static_cast<size_t>(head.vocabulary - 1)
                     ? numbers[from]
                     : static_cast<int8_t>(random.integer(-127, 127));
  }
  scales.back() = scales.front() = 4;
  for (size_t i = 0; i < wide.size(); ++i) wide[i] = numbers[i] * scales[i / static_cast<size_t>(head.h)];
  c.targets = {0, static_cast<int32_t>(head.vocabulary - 1), 0, -1, 5, 5, 5, 5, 5};
  for (size_t i = 0; i < c.x.size(); ++i) c.x[i] = static_cast<float>(numbers[i % static_cast<size_t>(head.h)]);
  const Tensor bytes = {numbers.data(), head.vocabulary, head.h, TensorType::kI8};
  const Vectors got = likelihoods(head, c.states(), bytes, integers(c.targets), matrix(scales, head.vocabulary, 1), 0);
  CHECK(got == likelihoods(head, c.states(), matrix(wide, head.vocabulary, head.h), integers(c.targets), kNone, 0),
        "bits");
  CHECK((got[1] == std::vector<float>{1, 1, 1, 1, 0, 0, 0, 0, 0}), "likeliest");
}

TEST("head_likelihood: a row's bits do not depend on the others, however many are multiplied together") {
  Random random(88);
  const Head head = {900, 2, 0, 5001, 0, 0};
  const Case c(head, random);
  const auto last_rows = [&](int64_t rows) {
    const int64_t first = head.rows - rows;
    std::vector<float> x(c.x.begin() + first * head.h, c.x.end()), values(static_cast<size_t>(rows));
    std::vector<int32_t> targets(c.targets.begin() + first, c.targets.end());
    run_operation(ThreadPool::shared(), "head_likelihood", {matrix(x, rows, head.h), c.weights(), integers(targets)},
                  {matrix(values, rows, 1)}, {0, 0});
    return values;
  };
  const std::vector<float> all = last_rows(head.rows), few = last_rows(70);
  CHECK(std::equal(few.rbegin(), few.rend(), all.rbegin()), "values");
}

TEST("head_likelihood: rows of which none is scored take nothing") {
  Random random(90);
  const Head head = {70, 9, 0, 300, 0, 0};
  Case c(head, random);
  std::fill(c.targets.begin(), c.targets.end(), -1);
  for (const double precision : {0.0, 1.0}) {
    const Vectors got = likelihoods(head, c.states(), c.weights(), integers(c.targets), kNone, precision);
    CHECK(got[0] == std::vector<float>(70, 0) && got[1] == std::vector<float>(70, 1), "values");
  }
}

TEST("head_likelihood: refuses what does not fit together") {
  Random random(89);
  const Case c(kHeads[1], random);
  std::vector<float> values(static_cast<size_t>(c.head.rows));
  const std::vector<int32_t> beyond(values.size(), static_cast<int32_t>(c.head.vocabulary));
  const auto refused = [&](const char* code, const Tensor& targets, double cap) {
    return test::throws(code, [&] {
      run_operation(ThreadPool::shared(), "head_likelihood", {c.states(), c.weights(), targets},
                    {matrix(values, c.head.rows, 1)}, {0, cap});
    });
  };
  CHECK(refused("MBOK_SHAPE", matrix(c.x, c.head.rows, c.head.h), 0), "targets of another type");
  CHECK(refused("MBOK_SHAPE", integers(c.targets), -1), "a negative cap");
  CHECK(refused("MBOK_INVALID_ARGUMENT", integers(beyond), 0), "a target beyond the vocabulary");
}

TEST("head_loss: refuses what does not fit together") {
  Random random(85);
  const Case c(kHeads[1], random);
  std::vector<float> loss(1);
  const auto attempt = [&](const std::vector<Tensor>& more, const std::vector<double>& attributes) {
    std::vector<Tensor> inputs = {c.states(), c.weights(), kNone, matrix(c.seed, 1, 1)};
    inputs.insert(inputs.end(), more.begin(), more.end());
    run_operation(ThreadPool::shared(), "head_loss", inputs, {matrix(loss, 1, 1)}, attributes);
  };
  const auto refused = [&](const char* code, const std::vector<Tensor>& more, const std::vector<double>& attributes) {
    return test::throws(code, [&] { attempt(more, attributes); });
  };
  const std::vector<int32_t> beyond(static_cast<size_t>(c.head.rows), static_cast<int32_t>(c.head.vocabulary));
  CHECK(refused("MBOK_SHAPE", {}, {0, 0, 0}), "nothing to compare with");
  CHECK(refused("MBOK_SHAPE", {integers(c.targets), c.teacher_states(), c.teacher_weights()}, {0, 0, 0}), "two");
  CHECK(refused("MBOK_SHAPE", {kNone, c.teacher_states()}, {0, 0, 0}), "states without a head");
  CHECK(refused("MBOK_SHAPE", {integers(c.targets)}, {0, -1, 0}), "a negative cap");
  CHECK(refused("MBOK_INVALID_ARGUMENT", {integers(beyond)}, {0, 0, 0}), "a target beyond the vocabulary");
}

}  // namespace
}  // namespace mbok
