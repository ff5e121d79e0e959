// The Boolean optimizer: every kernel function against scalar, then both operations against a replay in float64.
#include <algorithm>
#include <cstring>

#include "kernels/half/half.h"
#include "kernels/signal_update/signal_update.h"
#include "run.h"
#include "operations/product.h"
#include "test.h"

namespace mbok {
namespace {

using test::bit_matrix;
using test::matrix;
using test::Random;
using test::one_thread;
using test::run_operation;
using test::three_threads;

// Supported candidates other than the last one, which is scalar.
template <class Function, class Body>
void each_candidate(const KernelTable<Function>& table, Body&& body) {
  for (const Candidate<Function>& candidate : table.candidates())
    if (candidate.supported() && candidate.function != table.candidates().back().function)
      body(candidate.function, std::string(table.name()) + " " + candidate.name);
}

const int64_t kWidths[] = {1, 7, 8, 15, 16, 17, 31, 63, 64, 65, 100, 128, 201};

TEST("16-bit floats widen exactly and narrow to nearest even, alike on every instruction set") {
  std::vector<uint16_t> halves(65536);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  const auto count = static_cast<int64_t>(halves.size()) - 3;
  const auto is_nan = [](float x) { return x != x; };
  for (const auto* table : {&f16_widen_table, &bf16_widen_table}) {
    std::vector<float> expected(halves.size());
    table->candidates().back().function(halves.data(), expected.data(), count);
    CHECK(expected[0x3c00] == (table == &f16_widen_table ? 1.0f : 0x1p-7f), "the definition of the format");
    each_candidate(*table, [&](WidenFunction* widen, const std::string& name) {
      std::vector<float> actual(halves.size());
      widen(halves.data(), actual.data(), count);
      bool equal = true;
      for (size_t i = 0; i < halves.size(); ++i)
        equal = equal && (is_nan(expected[i]) ? is_nan(actual[i]) : std::memcmp(&expected[i], &actual[i], 4) == 0);
      CHECK(equal, name);
    });
  }
  Random random(2);
  std::vector<float> values;
  for (int i = 0; i < 40003; ++i) {
    const auto bits = static_cast<uint32_t>(random.next());
    float value;
    std::memcpy(&value, &bits, 4);
    // random patterns are mostly huge or tiny: move half of them into f16's range, ties included
    if (i % 2 == 1)
      value = std::ldexp(static_cast<float>(static_cast<int32_t>(bits) >> 18), static_cast<int>(bits % 40) - 33);
    if (!is_nan(value)) values.push_back(value);
  }
  const auto size = static_cast<int64_t>(values.size());
  for (const bool f16 : {true, false}) {
    const auto& table = f16 ? f16_narrow_table : bf16_narrow_table;
    const auto& back = f16 ? f16_widen_table : bf16_widen_table;
    std::vector<uint16_t> expected(values.size());
    std::vector<float> rounded(values.size());
    table.candidates().back().function(values.data(), expected.data(), size);
    back.candidates().back().function(expected.data(), rounded.data(), size);
    for (size_t i = 0; i < values.size(); ++i) {
      const float magnitude = std::fabs(values[i]);
      if (f16 && magnitude >= 65504.0f) {
        CHECK(std::fabs(rounded[i]) == 65504.0f, "saturates");
      } else if (magnitude < 3e38f) {
        // half a unit in the last place of 11 (8) bits, and no finer than the smallest denormal
        const double step = std::max(std::ldexp(1.0, std::ilogb(std::max(magnitude, 1e-45f)) - (f16 ? 10 : 7)),
                                     f16 ? 0x1p-24 : 0x1p-133);
        CHECK(std::fabs(static_cast<double>(rounded[i]) - values[i]) <= step / 2, "rounds to nearest");
      }
    }
    each_candidate(table, [&](NarrowFunction* narrow, const std::string& name) {
      std::vector<uint16_t> actual(values.size());
      narrow(values.data(), actual.data(), size);
      CHECK(actual == expected, name);
    });
  }
}

TEST("sums over a row of the signal agree with scalar for every width") {
  Random random(3);
  for (const int64_t cols : kWidths)
    for (const bool scaled : {true, false}) {
      std::vector<float> g = random.normals(cols);
      if (cols > 20) g[5] = INFINITY, g[17] = NAN;
      const std::vector<float> s_in = random.normals(cols), start = random.normals(cols);
      const std::vector<uint64_t> bits = random.bits(1, cols);
      const float* const scales = scaled ? s_in.data() : nullptr;
      const float s_out = scaled ? -1.5f : 1.0f;
      const auto near = [](float a, float b) { return std::fabs(a - b) <= 2e-5f * (1 + std::fabs(b)); };
      std::vector<float> column = start;
      const float squares = scalar::signal_squares(g.data(), s_out, scales, column.data(), cols);
      each_candidate(signal_squares_table, [&](SignalSquaresFunction* function, const std::string& name) {
        std::vector<float> actual = start;
        CHECK(near(function(g.data(), s_out, scales, actual.data(), cols), squares), name);
        CHECK(actual == column, name);
      });
      const float magnitude = scalar::signal_magnitude(g.data(), s_out, scales, cols);
      CHECK(std::isfinite(magnitude) && std::isfinite(squares), "broken elements do not count");
      each_candidate(signal_magnitude_table, [&](SignalMagnitudeFunction* function, const std::string& name) {
        CHECK(near(function(g.data(), s_out, scales, cols), magnitude), name);
      });
      if (cols > 20) g[5] = g[17] = 0.25f;
      std::vector<float> q = start;
      scalar::add_signal(g.data(), s_out, scales, q.data(), cols);
      each_candidate(add_signal_table, [&](AddSignalFunction* function, const std::string& name) {
        std::vector<float> actual = start;
        function(g.data(), s_out, scales, actual.data(), cols);
        CHECK(actual == q, name);
      });
      std::vector<float> ds_in = start;
      const float ds_out = scalar::scale_gradient(g.data(), bits.data(), s_out, s_in.data(), ds_in.data(), cols);
      each_candidate(scale_gradient_table, [&](ScaleGradientFunction* function, const std::string& name) {
        std::vector<float> actual = start;
        CHECK(near(function(g.data(), bits.data(), s_out, s_in.data(), actual.data(), cols), ds_out), name);
        CHECK(test::relative_error(actual, ds_in) < 1e-6, name);
      });
    }
}

TEST("accumulation and flips give the same bits on every instruction set") {
  Random random(4);
  for (const int64_t cols : kWidths) {
    std::vector<float> g = random.normals(cols), start = random.normals(cols);
    const std::vector<float> factors = random.normals(cols);
    if (cols > 20) g[3] = NAN, g[9] = -INFINITY;
    if (cols > 20) start[4] = 1.0f, start[6] = -1.0f;
    std::vector<float> m = start;
    scalar::accumulate(m.data(), g.data(), 0.9f, 0.7f, factors.data(), cols);
    if (cols > 20) CHECK(m[3] == start[3] && m[9] == start[9], "what is not finite leaves the accumulator alone");
    each_candidate(accumulate_table, [&](AccumulateFunction* function, const std::string& name) {
      std::vector<float> actual = start;
      function(actual.data(), g.data(), 0.9f, 0.7f, factors.data(), cols);
      CHECK(actual == m, name);
    });
    // all 64 bits of the last word set or not: bits beyond the row must not change
    for (const uint64_t beyond : {uint64_t{0}, ~uint64_t{0}}) {
      std::vector<uint64_t> bits = random.bits(1, cols);
      if (cols % 64 != 0) bits.back() |= beyond << (cols % 64);
      for (const float retained : {0.0f, 0.7f}) {
        std::vector<float> flipped = start;
        std::vector<uint64_t> expected = bits;
        const int64_t flips = scalar::flip(flipped.data(), expected.data(), retained, cols);
        each_candidate(flip_table, [&](FlipFunction* function, const std::string& name) {
          std::vector<float> actual = start;
          std::vector<uint64_t> words = bits;
          CHECK(function(actual.data(), words.data(), retained, cols) == flips, name);
          CHECK(actual == flipped && words == expected, name);
        });
      }
    }
  }
}

TEST("neighbor moves give the same bits on every instruction set, for 1 to 8 kernels") {
  Random random(5);
  for (int kernels = 1; kernels <= 8; ++kernels)
    for (const int64_t cols : kWidths) {
      const int64_t words = words_per_row(cols);
      std::vector<float> start = random.normals(cols), s_in = random.normals(kernels * cols), s_out;
      for (int k = 0; k < kernels; ++k) s_out.push_back(random.normal() / static_cast<float>(1 << k));
      if (cols > 20) s_in[static_cast<size_t>((kernels - 1) * cols) + 2] = 0, start[4] = 0, start[5] = -0.0f;
      if (cols > 20) s_in[7] = NAN, s_in[static_cast<size_t>((kernels - 1) * cols) + 8] = INFINITY;
      const std::vector<uint64_t> bits = random.bits(kernels, cols);
      const auto run = [&](MoveFunction* function, std::vector<float>& m, std::vector<uint64_t>& b) {
        return function(m.data(), {b.data(), words, s_out.data(), s_in.data(), cols, kernels}, 0.6f, cols);
      };
      std::vector<float> m = start;
      std::vector<uint64_t> expected = bits;
      const int64_t moves = run(scalar::move, m, expected);
      each_candidate(move_table, [&](MoveFunction* function, const std::string& name) {
        std::vector<float> actual = start;
        std::vector<uint64_t> b = bits;
        CHECK(run(function, actual, b) == moves, name + " " + std::to_string(kernels));
        CHECK(actual == m && b == expected, name + " " + std::to_string(kernels));
      });
    }
}

// The optimizer of one layer in float64, element by element: the definition.
struct Replay {
  int64_t kernels, m, n;
  int rule, normalizer;
  double decay, retained;
  std::vector<double> sign, accumulator;  // [K, m, n], [m, n]
  std::vector<double> s_out, s_in;        // [K, m], [K, n]
  double beta = 0, moved = 0;
  std::vector<double> running_rows, running_columns;
  double running_magnitude = 0;
  int steps = 0;

  size_t at(int64_t k, int64_t i, int64_t j) const { return static_cast<size_t>((k * m + i) * n + j); }
  double hat(int64_t k, int64_t i, int64_t j) const {
    return s_out[static_cast<size_t>(k * m + i)] * s_in[static_cast<size_t>(k * n + j)];
  }

  struct Statistics {
    std::vector<double> rows, columns;
    double magnitude = 0;
  };
  Statistics measure(const std::vector<double>& q) const {
    Statistics s{std::vector<double>(static_cast<size_t>(m)), std::vector<double>(static_cast<size_t>(n)), 0};
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        const double x = q[at(0, i, j)];
        s.rows[static_cast<size_t>(i)] += x * x / static_cast<double>(n);
        s.columns[static_cast<size_t>(j)] += x * x / static_cast<double>(m);
        s.magnitude += std::fabs(x) / static_cast<double>(m * n);
      }
    return s;
  }

  // signals: one dense Q of the last kernel per micro-batch
  void step(const std::vector<std::vector<double>>& signals, double eta) {
    const double batches = static_cast<double>(signals.size());
    Statistics sum{std::vector<double>(static_cast<size_t>(m)), std::vector<double>(static_cast<size_t>(n)), 0};
    for (size_t b = 0; b < signals.size(); ++b) {
      const std::vector<double>& q = signals[b];
      Statistics s = measure(q);
      for (size_t i = 0; i < s.rows.size(); ++i) sum.rows[i] += s.rows[i], s.rows[i] *= batches;
      for (size_t j = 0; j < s.columns.size(); ++j) sum.columns[j] += s.columns[j], s.columns[j] *= batches;
      sum.magnitude += s.magnitude / std::sqrt(batches);
      s.magnitude *= std::sqrt(batches);
      if (decay > 0 && steps > 0) s = {running_rows, running_columns, running_magnitude};
      double mean = 0;
      for (const double r : s.rows) mean += r / static_cast<double>(m);
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          double x = q[at(0, i, j)];
          const double rc = s.rows[static_cast<size_t>(i)] * s.columns[static_cast<size_t>(j)];
          if (normalizer == 1) x = s.magnitude > 0 ? x / s.magnitude : 0;
          if (normalizer == 2) x = rc > 0 ? x * std::sqrt(mean) / std::sqrt(rc) : 0;
          if (rule == 1 && hat(kernels - 1, i, j) < 0) x = -x;
          double& a = accumulator[at(0, i, j)];
          a = (b == 0 ? beta : 1.0) * a + eta * x;
        }
    }
    for (auto [running, own] : {std::pair(&running_rows, &sum.rows), std::pair(&running_columns, &sum.columns)}) {
      if (steps == 0) *running = *own;
      for (size_t i = 0; i < own->size(); ++i) (*running)[i] = decay * (*running)[i] + (1 - decay) * (*own)[i];
    }
    running_magnitude = steps == 0 ? sum.magnitude : decay * running_magnitude + (1 - decay) * sum.magnitude;
    ++steps;
    moved = 0;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) moved += rule == 0 ? flip(i, j) : move(i, j);
    beta = 1 - moved / static_cast<double>(m * n);
  }

  double flip(int64_t i, int64_t j) {
    double &a = accumulator[at(0, i, j)], &w = sign[at(kernels - 1, i, j)];
    if (a * w < 1) return 0;
    w = -w;
    a = retained * w;
    return 1;
  }

  double move(int64_t i, int64_t j) {
    double& a = accumulator[at(0, i, j)];
    double current = 0, best = INFINITY;
    int pick = -1;
    for (int64_t k = 0; k < kernels; ++k) current += sign[at(k, i, j)] * hat(k, i, j);
    for (int code = 0; code < 1 << kernels; ++code) {
      double level = 0;
      for (int64_t k = 0; k < kernels; ++k) level += (code >> k & 1 ? 1.0 : -1.0) * hat(k, i, j);
      const double distance = (level - current) * (a > 0 ? -1.0 : a < 0 ? 1.0 : 0.0);
      if (distance > 1e-9 && distance < best) best = distance, pick = code;
    }
    const double needed = best / (2 * std::fabs(hat(kernels - 1, i, j)));
    if (pick < 0 || !(std::fabs(a) >= needed)) return 0;
    for (int64_t k = 0; k < kernels; ++k) sign[at(k, i, j)] = pick >> k & 1 ? 1 : -1;
    a = -std::copysign(retained * needed, a);
    return 1;
  }
};

struct Setting {
  int64_t kernels, m, n;
  int rule, normalizer;
  double decay;
  int batches;
  TensorType accumulator;
  double retained = 0;

  std::string name() const {
    const char* const rules[] = {"last kernel", "neighbor moves"};
    return std::to_string(m) + " x " + std::to_string(n) + ", K = " + std::to_string(kernels) + ", " + rules[rule] +
           ", normalizer " + std::to_string(normalizer) + ", decay " + std::to_string(decay) + ", " +
           std::to_string(batches) + " micro-batches, accumulator " + std::to_string(static_cast<int>(accumulator)) + ", retained " +
           std::to_string(retained);
  }
};

// The state that both operations change, and the constants that they need.
struct Layer {
  explicit Layer(const Setting& s, Random& random)
      : setting(s),
        bits(random.bits(s.kernels * s.m, s.n)),
        m(static_cast<size_t>(s.m * s.n)),
        rows(static_cast<size_t>(2 * s.m)),
        columns(static_cast<size_t>(2 * s.n)),
        state(8) {
    // sizes of scales after successive extraction, some negative and one zero
    for (int64_t k = 0; k < s.kernels; ++k) {
      for (int64_t i = 0; i < s.m; ++i)
        s_out.push_back(static_cast<float>((i % 5 == 0 && k % 2 == 0 ? -1 : 1) * (0.2 + random.uniform()) / (1 << k)));
      for (int64_t j = 0; j < s.n; ++j) s_in.push_back(static_cast<float>(0.5 + random.uniform()));
    }
    s_out[static_cast<size_t>((s.kernels - 1) * s.m)] = 0;
  }

  Tensor kernels() { return bit_matrix(bits, setting.kernels * setting.m, setting.n); }
  Tensor accumulator() { return {m.data(), setting.m, setting.n, setting.accumulator}; }
  Tensor out_scales() { return matrix(s_out, setting.kernels, setting.m); }
  Tensor in_scales() { return matrix(s_in, setting.kernels, setting.n); }
  Tensor row_statistics() { return matrix(rows, 2, setting.m); }
  Tensor column_statistics() { return matrix(columns, 2, setting.n); }
  std::vector<double> attributes(double first) {
    return {first, static_cast<double>(setting.rule), static_cast<double>(setting.normalizer), setting.decay,
            setting.retained, 1};
  }
  bool bit(int64_t k, int64_t i, int64_t j) const {
    const size_t words = static_cast<size_t>(words_per_row(setting.n));
    return bits[static_cast<size_t>(k * setting.m + i) * words + static_cast<size_t>(j / 64)] >> (j % 64) & 1;
  }
  bool padding_is_zero() const {
    if (setting.n % 64 == 0) return true;
    const size_t words = static_cast<size_t>(words_per_row(setting.n));
    for (size_t r = 0; r < bits.size() / words; ++r)
      if (bits[r * words + words - 1] >> (setting.n % 64) != 0) return false;
    return true;
  }
  bool operator==(const Layer& other) const {
    return bits == other.bits && m == other.m && rows == other.rows && columns == other.columns && state == other.state;
  }

  Setting setting;
  std::vector<uint64_t> bits;
  std::vector<float> m;  // room for any type of accumulator
  std::vector<float> rows, columns, state, s_out, s_in;
};

Replay replay_of(const Layer& layer) {
  const Setting& s = layer.setting;
  Replay replay{s.kernels, s.m, s.n, s.rule, s.normalizer, s.decay, s.retained, {}, {}, {}, {}, 0, 0, {}, {}, 0, 0};
  replay.s_out.assign(layer.s_out.begin(), layer.s_out.end());
  replay.s_in.assign(layer.s_in.begin(), layer.s_in.end());
  replay.accumulator.resize(static_cast<size_t>(s.m * s.n));
  for (int64_t k = 0; k < s.kernels; ++k)
    for (int64_t i = 0; i < s.m; ++i)
      for (int64_t j = 0; j < s.n; ++j) replay.sign.push_back(layer.bit(k, i, j) ? 1 : -1);
  return replay;
}

Scalars scalars_of(int batch, int batches, double eta) {
  Scalars scalars;
  scalars.flip_rate = eta;
  scalars.micro_batches = batches;
  scalars.first = batch == 0;
  scalars.last = batch == batches - 1;
  return scalars;
}

// Compares kernels, β and (for f32) accumulators after every step. A 16-bit accumulator may flip a few weights at other
// steps.
void compare(const Layer& layer, const Replay& replay, int step, const std::string& name) {
  const Setting& s = layer.setting;
  const bool exact = s.accumulator == TensorType::kF32;
  const double size = static_cast<double>(s.m * s.n);
  int64_t different = 0;
  for (int64_t k = 0; k < s.kernels; ++k)
    for (int64_t i = 0; i < s.m; ++i)
      for (int64_t j = 0; j < s.n; ++j) different += layer.bit(k, i, j) != (replay.sign[replay.at(k, i, j)] > 0);
  const std::string where = name + ", step " + std::to_string(step);
  CHECK(static_cast<double>(different) <= (exact ? 0 : 0.03 * size), where + ": " + std::to_string(different));
  CHECK(std::fabs(layer.state[1] - replay.moved) <= (exact ? 0 : 0.03 * size), where);
  CHECK(std::fabs(layer.state[0] - replay.beta) <= (exact ? 1e-6 : 0.03), where);
  CHECK(layer.padding_is_zero(), where);
  if (!exact) return;
  std::vector<float> expected(replay.accumulator.begin(), replay.accumulator.end());
  CHECK(test::relative_error(layer.m, expected) < 2e-5, where);
}

std::vector<Setting> settings() {
  std::vector<Setting> list;
  for (const int rule : {0, 1})
    for (const int normalizer : {0, 1, 2})
      for (const double decay : {0.0, 0.9})
        for (const int batches : {1, 3})
          for (const int64_t kernels : {1, 2, 3, 4}) {
            if (normalizer == 0 && decay > 0) continue;
            list.push_back({kernels, 19, 77, rule, normalizer, decay, batches, TensorType::kF32, batches == 3 ? 0.7 : 0});
          }
  list.push_back({8, 5, 70, 1, 2, 0.0, 1, TensorType::kF32});
  list.push_back({2, 70, 700, 0, 2, 0.9, 1, TensorType::kF32});
  for (const TensorType type : {TensorType::kF16, TensorType::kBf16})
    for (const int rule : {0, 1}) list.push_back({2, 40, 150, rule, 2, 0.9, 2, type});
  return list;
}

TEST("boolean_update replays the rules of the Boolean optimizer") {
  uint64_t seed = 100;
  for (const Setting& s : settings()) {
    Random random(++seed);
    Layer layer(s, random), threaded = layer;
    Replay replay = replay_of(layer);
    const std::vector<float> drift = random.normals(s.m * s.n);
    for (int step = 0; step < 12; ++step) {
      std::vector<std::vector<double>> signals;
      const double eta = s.normalizer == 0 ? 20.0 : 0.4;
      for (int b = 0; b < s.batches; ++b) {
        std::vector<float> q = random.normals(s.m * s.n);
        for (size_t i = 0; i < q.size(); ++i)
          q[i] = (q[i] + drift[i]) * 0.01f * static_cast<float>(1 + i % static_cast<size_t>(s.n) % 7);
        for (int64_t i = 0; i < s.m; ++i) q[static_cast<size_t>(i * s.n + 3)] = 0;  // a dead column
        signals.emplace_back(q.begin(), q.end());
        for (Layer* l : {&layer, &threaded})
          run_operation(l == &layer ? one_thread() : three_threads(), "boolean_update",
                        {matrix(q, s.m, s.n), l->out_scales(), l->in_scales()},
                        {l->kernels(), l->accumulator(), l->row_statistics(), l->column_statistics(),
                         matrix(l->state, 1, 8)},
                        l->attributes(static_cast<double>(s.kernels)), scalars_of(b, s.batches, eta));
      }
      replay.step(signals, eta);
      compare(layer, replay, step, s.name());
    }
    CHECK(layer == threaded, s.name() + ": 1 and 3 threads differ");
    CHECK(replay.moved > 0, s.name() + ": nothing moved, so nothing was tested");
  }
}

TEST("multi_boolean_update gives scale gradients and replays the rules from dy and x") {
  uint64_t seed = 500;
  for (Setting s : settings()) {
    if (s.accumulator != TensorType::kF32) continue;
    s.m += 20;  // more than one tile down or across, if the grid allows
    s.n += 60;
    Random random(++seed);
    Layer layer(s, random), threaded = layer;
    Replay replay = replay_of(layer);
    const int64_t tokens = 9;
    const std::vector<float> base_dy = random.normals(tokens * s.m), base_x = random.normals(tokens * s.n);
    for (int step = 0; step < 6; ++step) {
      std::vector<std::vector<double>> signals;
      const double eta = s.normalizer == 0 ? 0.3 : 0.5;
      std::vector<float> ds_out = random.normals(s.kernels * s.m), ds_in = random.normals(s.kernels * s.n);
      std::vector<float> threaded_out = ds_out, threaded_in = ds_in;
      std::vector<double> expected_out(ds_out.begin(), ds_out.end()), expected_in(ds_in.begin(), ds_in.end());
      const Layer before = layer;
      for (int b = 0; b < s.batches; ++b) {
        std::vector<float> dy = random.normals(tokens * s.m), x = random.normals(tokens * s.n);
        for (size_t i = 0; i < dy.size(); ++i) dy[i] += base_dy[i];
        for (size_t i = 0; i < x.size(); ++i) x[i] += base_x[i];
        std::vector<double> q(static_cast<size_t>(s.m * s.n));
        for (int64_t i = 0; i < s.m; ++i)
          for (int64_t j = 0; j < s.n; ++j) {
            double g = 0;
            for (int64_t t = 0; t < tokens; ++t)
              g += static_cast<double>(dy[static_cast<size_t>(t * s.m + i)]) * x[static_cast<size_t>(t * s.n + j)];
            q[replay.at(0, i, j)] = g * replay.hat(s.kernels - 1, i, j);
            for (int64_t k = 0; k < s.kernels; ++k) {
              const double gb = before.bit(k, i, j) ? g : -g;
              const auto out = static_cast<size_t>(k * s.m + i), in = static_cast<size_t>(k * s.n + j);
              expected_out[out] += gb * replay.s_in[in];
              expected_in[in] += gb * replay.s_out[out];
            }
          }
        signals.push_back(q);
        for (Layer* l : {&layer, &threaded})
          run_operation(l == &layer ? one_thread() : three_threads(), "multi_boolean_update",
                        {matrix(dy, tokens, s.m), matrix(x, tokens, s.n), l->kernels(), l->out_scales(),
                         l->in_scales()},
                        {matrix(l == &layer ? ds_out : threaded_out, s.kernels, s.m),
                         matrix(l == &layer ? ds_in : threaded_in, s.kernels, s.n), l->kernels(), l->accumulator(),
                         l->row_statistics(), l->column_statistics(), matrix(l->state, 1, 8)},
                        l->attributes(0), scalars_of(b, s.batches, eta));
      }
      replay.step(signals, eta);
      compare(layer, replay, step, s.name());
      const auto error = [](const std::vector<float>& actual, const std::vector<double>& expected) {
        return test::relative_error(actual, std::vector<float>(expected.begin(), expected.end()));
      };
      CHECK(error(ds_out, expected_out) < 2e-6 && error(ds_in, expected_in) < 2e-6, s.name());
      CHECK(ds_out == threaded_out && ds_in == threaded_in, s.name() + ": 1 and 3 threads differ");
    }
    CHECK(layer == threaded, s.name() + ": 1 and 3 threads differ");
    CHECK(replay.moved > 0, s.name() + ": nothing moved, so nothing was tested");
  }
}

TEST("a rate of a parameter multiplies the rate of the run") {
  Random random(6);
  const Setting s = {2, 13, 130, 1, 2, 0.0, 1, TensorType::kF32};
  Layer layer(s, random), other = layer;
  for (int step = 0; step < 4; ++step) {
    const std::vector<float> q = random.normals(s.m * s.n);
    for (Layer* l : {&layer, &other}) {
      std::vector<double> attributes = l->attributes(2);
      attributes.back() = l == &layer ? 1 : 0.25;
      run_operation(three_threads(), "boolean_update", {matrix(q, s.m, s.n), l->out_scales(), l->in_scales()},
                    {l->kernels(), l->accumulator(), l->row_statistics(), l->column_statistics(), matrix(l->state, 1, 8)},
                    attributes, scalars_of(0, 1, l == &layer ? 0.5 : 2));
    }
  }
  CHECK(layer.state[1] > 0 && layer == other, "0.25 of 2 is not 0.5");
}

TEST("without scales boolean_update trains one Boolean kernel") {
  Random random(7);
  const Setting s = {1, 13, 130, 0, 1, 0.0, 1, TensorType::kBf16};
  Layer layer(s, random), moved = layer;
  moved.setting.rule = 1;
  for (int step = 0; step < 5; ++step) {
    const std::vector<float> q = random.normals(s.m * s.n);
    for (Layer* l : {&layer, &moved})
      run_operation(three_threads(), "boolean_update", {matrix(q, s.m, s.n), {}, {}},
                    {l->kernels(), l->accumulator(), {}, {}, matrix(l->state, 1, 8)}, l->attributes(1),
                    scalars_of(0, 1, 0.7));
  }
  CHECK(layer.state[1] > 0 && layer == moved, "both rules are one for a single kernel without scales");
}

TEST("a signal that is not finite leaves accumulator and bits alone") {
  Random random(8);
  const Setting s = {2, 6, 80, 1, 2, 0.9, 1, TensorType::kF16};
  Layer layer(s, random);
  for (int step = 0; step < 4; ++step) {
    std::vector<float> q = random.normals(s.m * s.n);
    q[11] = NAN;
    q[100] = INFINITY;
    q[200] = 3e38f;
    run_operation(three_threads(), "boolean_update", {matrix(q, s.m, s.n), layer.out_scales(), layer.in_scales()},
                  {layer.kernels(), layer.accumulator(), layer.row_statistics(), layer.column_statistics(),
                   matrix(layer.state, 1, 8)},
                  layer.attributes(2), scalars_of(0, 1, 0.3));
  }
  std::vector<float> m(static_cast<size_t>(s.m * s.n));
  f16_widen_table.best()(layer.accumulator().u16(), m.data(), s.m * s.n);
  CHECK(m[11] == 0 && m[100] == 0, "an accumulator took up a broken signal");
  for (const float x : m) CHECK(std::isfinite(x), "an accumulator is not finite");
  for (const float x : layer.rows) CHECK(std::isfinite(x), "a statistic is not finite");
  CHECK(std::isfinite(layer.state[0]), "β is not finite");
}

TEST("multi_boolean_signal gives the gradients of every kernel and scale") {
  Random random(9);
  for (const int64_t kernels : {1, 3}) {
    const Setting s = {kernels, 37, 141, 0, 0, 0.0, 1, TensorType::kF32};
    Layer layer(s, random);
    const Replay replay = replay_of(layer);
    const int64_t tokens = 11, k = kernels - 1;
    const std::vector<float> dy = random.normals(tokens * s.m), x = random.normals(tokens * s.n);
    std::vector<float> ds_out(static_cast<size_t>(kernels * s.m)), ds_in(static_cast<size_t>(kernels * s.n));
    std::vector<float> expected_out = ds_out, expected_in = ds_in;
    std::vector<float> q(static_cast<size_t>(s.m * s.n), 0.5f), expected_q = q, q3 = q;
    for (int64_t i = 0; i < s.m; ++i)
      for (int64_t j = 0; j < s.n; ++j) {
        double g = 0;
        for (int64_t t = 0; t < tokens; ++t)
          g += static_cast<double>(dy[static_cast<size_t>(t * s.m + i)]) * x[static_cast<size_t>(t * s.n + j)];
        expected_q[replay.at(0, i, j)] += static_cast<float>(g * replay.hat(k, i, j));
        for (int64_t l = 0; l < kernels; ++l) {
          const double gb = g * replay.sign[replay.at(l, i, j)];
          const auto out = static_cast<size_t>(l * s.m + i), in = static_cast<size_t>(l * s.n + j);
          expected_out[out] += static_cast<float>(gb * replay.s_in[in]);
          expected_in[in] += static_cast<float>(gb * replay.s_out[out]);
        }
      }
    const std::vector<Tensor> inputs = {matrix(dy, tokens, s.m), matrix(x, tokens, s.n), layer.kernels(),
                                        layer.out_scales(), layer.in_scales()};
    run_operation(one_thread(), "multi_boolean_signal", inputs,
                  {matrix(ds_out, kernels, s.m), matrix(ds_in, kernels, s.n), matrix(q, s.m, s.n)},
                  {0, static_cast<double>(k)});
    CHECK(test::relative_error(q, expected_q) < 1e-6, "q");
    CHECK(test::relative_error(ds_out, expected_out) < 2e-6, "output scales");
    CHECK(test::relative_error(ds_in, expected_in) < 2e-6, "input scales");
    run_operation(three_threads(), "multi_boolean_signal", inputs, {{}, {}, matrix(q3, s.m, s.n)},
                  {0, static_cast<double>(k)});
    CHECK(q == q3, "1 and 3 threads differ");
  }
}

TEST("tiles of the product share no word of bits") {
  for (const int64_t n : {1, 100, 576, 5000}) CHECK(product_tile_grid(300, n).tile_cols % 64 == 0, std::to_string(n));
}

}  // namespace
}  // namespace mbok
