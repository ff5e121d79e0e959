// Causal grouped-query attention against its definition in float64.
#include "gradient_check.h"
#include "kernels/attention/attention.h"
#include "kernels/half/half.h"

namespace mbok {
namespace {

using test::check_close;
using test::matrix;
using test::Random;
using Vectors = std::vector<std::vector<float>>;

struct Shape {
  int64_t sequences, length, heads, kv_heads, d, window;
  float size = 1;  // of q
  float softcap = 0;
  int64_t rows() const { return sequences * length; }
  int64_t q_cols() const { return heads * d; }
  int64_t kv_cols() const { return kv_heads * d; }
  double scale() const { return 1 / std::sqrt(static_cast<double>(d)); }
  std::vector<double> attributes() const {
    return {static_cast<double>(d), static_cast<float>(scale()), static_cast<double>(window), softcap};
  }
  Scalars scalars() const {
    Scalars s;
    s.rows = static_cast<double>(rows());
    s.sequence_length = static_cast<double>(length);
    return s;
  }
  std::string name() const {
    std::string text;
    for (const int64_t number : {sequences, length, heads, kv_heads, d, window}) text += std::to_string(number) + " ";
    return softcap > 0 ? text + "capped " : text;
  }
};

const Shape kShapes[] = {
    {1, 1, 1, 1, 2, 0},       {2, 5, 2, 1, 4, 0},         {3, 7, 3, 3, 6, 2},
    {1, 64, 2, 2, 32, 0},     {3, 65, 4, 2, 16, 0},       {1, 130, 6, 2, 32, 0},
    {2, 100, 3, 3, 10, 17},   {1, 200, 4, 1, 64, 70},     {1, 129, 2, 1, 256, 0},
    {1, 67, 3, 1, 18, 64},    {1, 150, 2, 2, 6, 1},       {2, 128, 2, 1, 34, 128},
    {1, 90, 2, 1, 16, 0, 60}, {1, 400, 3, 1, 8, 0},       {2, 330, 2, 2, 8, 90},
    {16, 70, 4, 2, 8, 0},     {2, 70, 4, 2, 16, 0, 5, 3}, {1, 131, 2, 1, 10, 40, 3, 2.5},
};

struct Tensors {
  std::vector<float> q, k, v, o, d_o, lse, dq, dk, dv;
};

Tensors random_tensors(const Shape& s, Random& random) {
  Tensors t;
  t.q = random.normals(s.rows() * s.q_cols());
  for (float& value : t.q) value *= s.size;
  t.k = random.normals(s.rows() * s.kv_cols());
  t.v = random.normals(s.rows() * s.kv_cols());
  t.d_o = random.normals(s.rows() * s.q_cols());
  return t;
}

// The definition: the softmax of every query's scores, and the gradients by the chain rule.
void define(const Shape& s, Tensors& t) {
  const int64_t group = s.heads / s.kv_heads;
  std::vector<double> o(t.q.size()), dq(t.q.size()), dk(t.k.size()), dv(t.v.size());
  t.lse.assign(static_cast<size_t>(s.rows() * s.heads), 0);
  const double scale = static_cast<float>(s.scale());
  for (int64_t sequence = 0; sequence < s.sequences; ++sequence)
    for (int64_t head = 0; head < s.heads; ++head)
      for (int64_t i = 0; i < s.length; ++i) {
        const int64_t row = sequence * s.length + i, q = row * s.q_cols() + head * s.d;
        std::vector<double> p(static_cast<size_t>(i + 1)), dp(p.size()), slope(p.size(), 1);
        const auto kv = [&](size_t j) {
          return (sequence * s.length + static_cast<int64_t>(j)) * s.kv_cols() + head / group * s.d;
        };
        double largest = -INFINITY, sum = 0, mean = 0;
        for (size_t j = 0; j < p.size(); ++j) {
          for (int64_t c = 0; c < s.d; ++c)
            p[j] += scale * t.q[static_cast<size_t>(q + c)] * t.k[static_cast<size_t>(kv(j) + c)];
          if (s.softcap > 0) {
            slope[j] = std::pow(std::cosh(p[j] / s.softcap), -2);
            p[j] = s.softcap * std::tanh(p[j] / s.softcap);
          }
          if (s.window > 0 && static_cast<int64_t>(j) + s.window <= i) p[j] = -INFINITY;
          largest = std::fmax(largest, p[j]);
        }
        for (double& value : p) sum += std::exp(value - largest);
        t.lse[static_cast<size_t>(row * s.heads + head)] = static_cast<float>(largest + std::log(sum));
        for (size_t j = 0; j < p.size(); ++j) {
          p[j] = std::exp(p[j] - largest) / sum;
          for (int64_t c = 0; c < s.d; ++c) {
            o[static_cast<size_t>(q + c)] += p[j] * t.v[static_cast<size_t>(kv(j) + c)];
            dv[static_cast<size_t>(kv(j) + c)] += p[j] * t.d_o[static_cast<size_t>(q + c)];
            dp[j] += static_cast<double>(t.d_o[static_cast<size_t>(q + c)]) * t.v[static_cast<size_t>(kv(j) + c)];
          }
          mean += p[j] * dp[j];
        }
        for (size_t j = 0; j < p.size(); ++j)
          for (int64_t c = 0; c < s.d; ++c) {
            const double ds = scale * slope[j] * p[j] * (dp[j] - mean);
            dq[static_cast<size_t>(q + c)] += ds * t.k[static_cast<size_t>(kv(j) + c)];
            dk[static_cast<size_t>(kv(j) + c)] += ds * t.q[static_cast<size_t>(q + c)];
          }
      }
  t.o.assign(o.begin(), o.end());
  t.dq.assign(dq.begin(), dq.end());
  t.dk.assign(dk.begin(), dk.end());
  t.dv.assign(dv.begin(), dv.end());
}

std::vector<Tensor> qkv(const Shape& s, const Tensors& t) {
  return {matrix(t.q, s.rows(), s.q_cols()), matrix(t.k, s.rows(), s.kv_cols()), matrix(t.v, s.rows(), s.kv_cols())};
}

// Large scores lose precision in f32: an error of 1e-7 · |score| in the exponent.
double tolerance(const Shape& s) { return s.size > 1 ? 2e-4 : 3e-6; }

// Attributes of attention and its gradient.
std::vector<double> attributes(const Shape& s, bool bf16 = false) {
  std::vector<double> list = s.attributes();
  list.push_back(bf16 ? 1 : 0);
  return list;
}

// bf16 rounds a number by up to 2⁻⁹ of it. A large score has this error in the exponent.
double tolerance(const Shape& s, bool bf16) { return !bf16 ? tolerance(s) : s.size > 1 ? 0.4 : 2e-2; }

void check_forward(bool bf16) {
  Random random(71);
  for (const Shape& s : kShapes) {
    Tensors t = random_tensors(s, random);
    define(s, t);
    const Vectors start = {std::vector<float>(t.o.size()), std::vector<float>(t.lse.size())};
    const Vectors got = test::same_for_any_threads(start, s.name(), [&](ThreadPool& pool, Vectors& out) {
      test::run_operation(pool, "attention", qkv(s, t),
                          {matrix(out[0], s.rows(), s.q_cols()), matrix(out[1], s.rows(), s.heads)},
                          attributes(s, bf16), s.scalars());
    });
    check_close(got[0], t.o, tolerance(s, bf16), s.name() + "o");
    check_close(got[1], t.lse, bf16 ? tolerance(s, true) : 1e-6, s.name() + "lse");
  }
}

void check_gradient(bool bf16) {
  Random random(72);
  for (const Shape& s : kShapes) {
    Tensors t = random_tensors(s, random);
    define(s, t);
    const auto inputs = qkv(s, t);
    const Vectors start = {random.normals(s.rows() * s.q_cols()), random.normals(s.rows() * s.kv_cols()),
                           random.normals(s.rows() * s.kv_cols())};
    const Vectors got = test::same_for_any_threads(start, s.name(), [&](ThreadPool& pool, Vectors& out) {
      test::run_operation(pool, "attention_gradient",
                          {matrix(t.d_o, s.rows(), s.q_cols()), inputs[0], inputs[1], inputs[2],
                           matrix(t.o, s.rows(), s.q_cols()), matrix(t.lse, s.rows(), s.heads)},
                          {matrix(out[0], s.rows(), s.q_cols()), matrix(out[1], s.rows(), s.kv_cols()),
                           matrix(out[2], s.rows(), s.kv_cols())},
                          attributes(s, bf16), s.scalars());
    });
    // With one visible key the gradients for q and k are exactly zero, and the results are rounding errors.
    if (s.length > 1 && s.window != 1) {
      check_close(got[0], t.dq, tolerance(s, bf16), s.name() + "dq");
      check_close(got[1], t.dk, tolerance(s, bf16), s.name() + "dk");
    }
    check_close(got[2], t.dv, tolerance(s, bf16), s.name() + "dv");
  }
}

TEST("attention: any heads, windows, lengths and sequences, any number of threads") { check_forward(false); }
TEST("attention: the same in bf16, as near as that is") { check_forward(true); }
TEST("attention_gradient: any heads, windows, lengths and sequences, any number of threads") { check_gradient(false); }
TEST("attention_gradient: the same in bf16, as near as that is") { check_gradient(true); }

TEST("attention: the definition's own gradients are finite differences") {
  Random random(73);
  for (const Shape& s : {Shape{2, 5, 2, 1, 4, 3}, Shape{2, 5, 2, 1, 4, 0, 1, 0.5}}) {
    Tensors t = random_tensors(s, random);
    define(s, t);
    const auto loss = [&](std::vector<float> Tensors::*which) {
      return [&t, &s, which](const std::vector<double>& x) {
        Tensors moved = t;
        (moved.*which).assign(x.begin(), x.end());
        define(s, moved);
        double sum = 0;
        for (size_t i = 0; i < moved.o.size(); ++i) sum += static_cast<double>(moved.o[i]) * t.d_o[i];
        return sum;
      };
    };
    // the definition rounds its inputs and outputs to f32, so the differences are rough
    check_close(test::finite_differences(t.q, loss(&Tensors::q)), t.dq, 5e-2, "dq");
    check_close(test::finite_differences(t.k, loss(&Tensors::k)), t.dk, 5e-2, "dk");
    check_close(test::finite_differences(t.v, loss(&Tensors::v)), t.dv, 5e-2, "dv");
  }
}

TEST("attention: every candidate agrees with the reference") {
  Random random(74);
  for (const Shape& s : kShapes) {
    if (s.sequences > 1 || s.length > 130) continue;
    Tensors t = random_tensors(s, random);
    define(s, t);
    const int64_t count = std::min<int64_t>(s.length, kAttentionQueries), first = s.length - count;
    test::for_each_candidate(attention_table, [&](auto* function, const std::string& name) {
      std::vector<float> o(t.o.size()), lse(t.lse.size());
      Memory scratch(static_cast<size_t>(attention_scratch(s.d)) * 4);
      for (const int64_t rows : {count, int64_t{1}, std::min<int64_t>(count, 3)}) {
        AttentionBlock b = {t.q.data() + first * s.q_cols(),
                            t.k.data(),
                            t.v.data(),
                            false,
                            o.data() + first * s.q_cols(),
                            lse.data() + first * s.heads,
                            s.q_cols(),
                            s.kv_cols(),
                            s.kv_cols(),
                            s.q_cols(),
                            s.heads,
                            first,
                            rows,
                            s.d,
                            static_cast<float>(s.scale()),
                            s.window,
                            s.softcap};
        function(b, reinterpret_cast<float*>(scratch.data()));
        for (int64_t i = first; i < first + rows; ++i) {
          const int64_t at = i * s.q_cols();
          CHECK(test::relative_error(o.data() + at, t.o.data() + at, s.d) <= 10 * tolerance(s), name + " " + s.name());
          const size_t row = static_cast<size_t>(i * s.heads);
          CHECK(std::fabs(lse[row] / t.lse[row] - 1) <= 1e-4, name + " " + s.name());
        }
      }
    });
    test::for_each_candidate(attention_gradient_table, [&](auto* function, const std::string& name) {
      std::vector<float> dq(t.dq.size()), dk(t.dk.size()), dv(t.dv.size());
      Memory scratch(static_cast<size_t>(attention_gradient_scratch(s.d)) * 4);
      const int64_t group = s.heads / s.kv_heads;
      for (int64_t kv_head = 0; kv_head < s.kv_heads; ++kv_head) {
        const int64_t q = kv_head * group * s.d, kv = kv_head * s.d;
        const AttentionGradientGroup g = {t.q.data() + q,
                                          t.k.data() + kv,
                                          t.v.data() + kv,
                                          t.o.data() + q,
                                          t.d_o.data() + q,
                                          t.lse.data() + kv_head * group,
                                          dq.data() + q,
                                          dk.data() + kv,
                                          dv.data() + kv,
                                          s.q_cols(),
                                          s.kv_cols(),
                                          s.kv_cols(),
                                          s.heads,
                                          0,
                                          s.length,
                                          group,
                                          s.d,
                                          static_cast<float>(s.scale()),
                                          s.window,
                                          s.softcap};
        function(g, reinterpret_cast<float*>(scratch.data()));
      }
      if (s.length > 1 && s.window != 1) {
        check_close(dq, t.dq, tolerance(s), name + " " + s.name() + "dq");
        check_close(dk, t.dk, tolerance(s), name + " " + s.name() + "dk");
      }
      check_close(dv, t.dv, tolerance(s), name + " " + s.name() + "dv");
    });
  }
}

TEST("attention: NaN in a query or a key reaches what it concerns") {
  const Shape s = {1, 70, 1, 1, 8, 0};
  Random random(75);
  Tensors t = random_tensors(s, random);
  t.k[66 * 8 + 1] = NAN;
  std::vector<float> o(t.q.size());
  test::run_operation(ThreadPool::shared(), "attention", qkv(s, t), {matrix(o, s.rows(), s.q_cols())}, attributes(s),
                      s.scalars());
  for (int64_t i = 0; i < 70; ++i) CHECK(std::isnan(o[static_cast<size_t>(i * 8)]) == (i >= 66), std::to_string(i));
}

std::vector<double> cached_attributes(const Shape& s, int64_t capacity) {
  std::vector<double> attributes = s.attributes();
  attributes.push_back(static_cast<double>(capacity));
  return attributes;
}

void round_to_halves(std::vector<float>& values) {
  std::vector<uint16_t> halves(values.size());
  f16_narrow_table.best()(values.data(), halves.data(), static_cast<int64_t>(values.size()));
  f16_widen_table.best()(halves.data(), values.data(), static_cast<int64_t>(values.size()));
}

// Keys and values are rounded to f16 if the cache is f16.
void check_chunks(TensorType cache) {
  const bool halves = cache == TensorType::kF16;
  Random random(76);
  const std::vector<std::vector<int64_t>> plans = {{150}, {1, 1, 1, 3, 4, 5, 6, 64, 65}, {100, 1, 2, 1, 46}, {149, 1}};
  for (const Shape& s : {Shape{1, 150, 6, 2, 32, 0}, Shape{1, 150, 3, 1, 10, 20}, Shape{1, 150, 2, 2, 64, 64},
                         Shape{1, 150, 2, 1, 16, 30, 3, 2}}) {
    Tensors t = random_tensors(s, random);
    if (halves)
      for (std::vector<float>* values : {&t.k, &t.v}) round_to_halves(*values);
    define(s, t);
    for (const auto& plan : plans) {
      const int64_t capacity = 160;
      // NaN in both types; f16 uses half of it
      const std::vector<float> empty(static_cast<size_t>(capacity * s.kv_cols()), NAN);
      const Vectors start = {t.q, empty, empty};
      const Vectors got = test::same_for_any_threads(start, s.name(), [&](ThreadPool& pool, Vectors& out) {
        Scalars scalars;
        int64_t position = 0;
        for (const int64_t rows : plan) {
          scalars.rows = scalars.sequence_length = static_cast<double>(rows);
          scalars.position = static_cast<double>(position);
          const auto slice = [&](std::vector<float>& values, int64_t cols) {
            return Tensor{values.data() + position * cols, rows, cols, TensorType::kF32};
          };
          test::run_operation(pool, "attention_cached",
                              {slice(t.q, s.q_cols()), slice(t.k, s.kv_cols()), slice(t.v, s.kv_cols())},
                              {slice(out[0], s.q_cols()), Tensor{out[1].data(), capacity, s.kv_cols(), cache},
                               Tensor{out[2].data(), capacity, s.kv_cols(), cache}},
                              cached_attributes(s, 0), scalars);
          position += rows;
        }
      });
      check_close(got[0], t.o, 3e-6, s.name() + "in " + std::to_string(plan.size()) + " chunks");
    }
  }
}

TEST("attention_cached: a sequence in chunks of any size gives what attention gives at once") {
  check_chunks(TensorType::kF32);
}
TEST("attention_cached: an f16 cache gives the attention of rounded keys and values") {
  check_chunks(TensorType::kF16);
}

TEST("attention_cached: rows of several sequences, in any order and pace, give what each sequence alone gives") {
  Random random(77);
  const Shape s = {3, 90, 4, 2, 16, 25, 2, 3};
  Tensors t = random_tensors(s, random);
  define(s, t);
  const int64_t capacity = 96, slots = 4;
  const int64_t slot_of[] = {2, 0, 3};
  const std::vector<float> empty(static_cast<size_t>(slots * capacity * s.kv_cols()), NAN);
  const Vectors got = test::same_for_any_threads({t.o, empty, empty}, "slots", [&](ThreadPool& pool, Vectors& out) {
    std::fill(out[0].begin(), out[0].end(), 0.0f);
    int64_t done[] = {0, 0, 0};
    for (int64_t turn = 0; done[0] + done[1] + done[2] < s.rows(); ++turn) {
      // one prompt beside single tokens, then every sequence token by token
      std::vector<int64_t> rows;
      std::vector<int32_t> slot_ids, positions;
      for (int64_t i = 0; i < 3; ++i) {
        const int64_t chunk = turn == i ? 70 : turn < i ? 0 : 1;
        for (int64_t c = 0; c < chunk && done[i] < s.length; ++c, ++done[i]) {
          rows.push_back(i * s.length + done[i]);
          slot_ids.push_back(static_cast<int32_t>(slot_of[i]));
          positions.push_back(static_cast<int32_t>(done[i]));
        }
      }
      const int64_t count = static_cast<int64_t>(rows.size());
      const auto gather = [&](const std::vector<float>& from, int64_t cols) {
        std::vector<float> chosen;
        for (const int64_t row : rows)
          chosen.insert(chosen.end(), from.begin() + row * cols, from.begin() + (row + 1) * cols);
        return chosen;
      };
      const auto q = gather(t.q, s.q_cols()), k = gather(t.k, s.kv_cols()), v = gather(t.v, s.kv_cols());
      std::vector<float> o(q.size());
      test::run_operation(pool, "attention_cached",
                          {matrix(q, count, s.q_cols()), matrix(k, count, s.kv_cols()), matrix(v, count, s.kv_cols()),
                           test::integers(slot_ids), test::integers(positions)},
                          {matrix(o, count, s.q_cols()), matrix(out[1], slots * capacity, s.kv_cols()),
                           matrix(out[2], slots * capacity, s.kv_cols())},
                          cached_attributes(s, capacity));
      for (int64_t r = 0; r < count; ++r)
        std::copy_n(o.begin() + r * s.q_cols(), s.q_cols(), out[0].begin() + rows[static_cast<size_t>(r)] * s.q_cols());
    }
  });
  check_close(got[0], t.o, tolerance(s), "slots");
}

TEST("attention_cached: places outside the cache are errors") {
  std::vector<float> row(4), cache(4 * 4);
  Scalars scalars;
  scalars.position = 4;
  const Tensor one = matrix(row, 1, 4), all = matrix(cache, 4, 4);
  const auto run = [&](std::vector<Tensor> places, double capacity) {
    std::vector<Tensor> inputs = {one, one, one};
    inputs.insert(inputs.end(), places.begin(), places.end());
    test::run_operation(ThreadPool::shared(), "attention_cached", inputs, {one, all, all}, {4, 0.5, 0, 0, capacity},
                        scalars);
  };
  CHECK(test::throws("MBOK_INVALID_ARGUMENT", [&] { run({}, 0); }), "full cache");
  const Tensor half = {cache.data(), 4, 4, TensorType::kF16};
  CHECK(test::throws("MBOK_SHAPE",
                     [&] {
                       test::run_operation(ThreadPool::shared(), "attention_cached", {one, one, one}, {one, half, all},
                                           {4, 0.5, 0, 0, 0});
                     }),
        "caches of two types");
  const std::vector<int32_t> zero = {0}, first = {1}, second = {2}, below = {-1};
  run({test::integers(first), test::integers(first)}, 2);
  CHECK(test::throws("MBOK_INVALID_ARGUMENT", [&] { run({test::integers(second), test::integers(zero)}, 2); }), "slot");
  CHECK(test::throws("MBOK_INVALID_ARGUMENT", [&] { run({test::integers(below), test::integers(zero)}, 2); }),
        "slot -1");
  CHECK(test::throws("MBOK_INVALID_ARGUMENT", [&] { run({test::integers(zero), test::integers(second)}, 2); }),
        "position");
  CHECK(test::throws("MBOK_INVALID_ARGUMENT", [&] { run({test::integers(zero), test::integers(below)}, 2); }),
        "position -1");
  CHECK(test::throws("MBOK_SHAPE", [&] { run({test::integers(zero), test::integers(zero)}, 3); }), "capacity");
  CHECK(test::throws("MBOK_SHAPE", [&] { run({test::integers(zero)}, 2); }), "slots without positions");
  CHECK(test::throws("MBOK_SHAPE", [&] { run({}, 2); }), "capacity without slots");
}

}  // namespace
}  // namespace mbok
