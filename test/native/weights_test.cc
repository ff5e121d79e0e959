// Weights in 16 and 8 bits: every operation that reads them gives what it gives for the same numbers in f32.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "gradient_check.h"
#include "kernels/dense_decode/dense_decode.h"
#include "kernels/half/half.h"
#include "kernels/int8/int8.h"
#include "kernels/q8/q8.h"

namespace mbok {
namespace {

using test::for_any_threads;
using test::integers;
using test::matrix;
using test::Random;
using test::run_operation;
using Shape = test::LinearShape;

constexpr TensorType kNarrow[] = {TensorType::kF16, TensorType::kBf16, TensorType::kI8, TensorType::kQ8};

const char* type_name(TensorType type) {
  return type == TensorType::kF16 ? "f16" : type == TensorType::kBf16 ? "bf16" : type == TensorType::kI8 ? "i8" : "q8";
}

// Columns that the type can have: whole blocks for q8.
int64_t cols_for(TensorType type, int64_t cols) {
  return type == TensorType::kQ8 ? (cols + kQ8Block - 1) / kQ8Block * kQ8Block : cols;
}

// Random weights of a type, and the same numbers in f32.
struct Weights {
  Weights(Random& random, TensorType type, int64_t rows, int64_t cols) : type(type), rows(rows), cols(cols) {
    const int64_t count = rows * cols;
    for (int64_t i = 0; i < rows; ++i) scales.push_back(0.01f + static_cast<float>(random.uniform()));
    halves.resize(static_cast<size_t>(count));
    values.resize(static_cast<size_t>(count));
    if (type == TensorType::kI8) {
      for (int64_t i = 0; i < count; ++i) whole.push_back(static_cast<int8_t>(random.integer(-128, 127)));
      for (int64_t i = 0; i < count; ++i)
        values[static_cast<size_t>(i)] =
            scales[static_cast<size_t>(i / cols)] * static_cast<float>(whole[static_cast<size_t>(i)]);
    } else if (type == TensorType::kQ8) {
      fill_blocks(random);
    } else {
      const std::vector<float> exact = random.normals(count);
      (type == TensorType::kF16 ? scalar::f16_narrow : scalar::bf16_narrow)(exact.data(), halves.data(), count);
      (type == TensorType::kF16 ? scalar::f16_widen : scalar::bf16_widen)(halves.data(), values.data(), count);
    }
  }

  Tensor tensor() const {
    const bool bytes = type == TensorType::kI8 || type == TensorType::kQ8;
    const void* data = bytes ? static_cast<const void*>(whole.data()) : halves.data();
    return {const_cast<void*>(data), rows, cols, type};
  }
  Tensor scale_tensor() const { return type == TensorType::kI8 ? matrix(scales, rows, 1) : Tensor{}; }

  // Every kind of scale: of either sign, zero, below the normal range of f16.
  void fill_blocks(Random& random) {
    const auto bytes = static_cast<int64_t>(row_bytes(type, cols));
    whole.resize(static_cast<size_t>(rows * bytes));
    for (int64_t row = 0; row < rows; ++row) {
      int8_t* const numbers = whole.data() + row * bytes + q8_scale_bytes(cols);
      for (int64_t block = 0; block < cols / kQ8Block; ++block) {
        uint16_t half = static_cast<uint16_t>(random.integer(0, 0x3fff) | (random.integer(0, 1) << 15));
        if (random.integer(0, 9) == 0) half &= 0x83ff;
        std::memcpy(whole.data() + row * bytes + 2 * block, &half, 2);
        float scale;
        scalar::f16_widen(&half, &scale, 1);
        for (int64_t col = block * kQ8Block; col < (block + 1) * kQ8Block; ++col) {
          numbers[col] = static_cast<int8_t>(random.integer(-128, 127));
          values[static_cast<size_t>(row * cols + col)] = scale * static_cast<float>(numbers[col]);
        }
      }
    }
  }

  TensorType type;
  int64_t rows, cols;
  std::vector<uint16_t> halves;
  std::vector<int8_t> whole;
  std::vector<float> scales, values;
};

const KernelTable<DenseDecodeFunction>& decode_table(TensorType type) {
  return type == TensorType::kF16    ? dense_decode_f16_table
         : type == TensorType::kBf16 ? dense_decode_bf16_table
         : type == TensorType::kI8   ? dense_decode_i8_table
                                     : dense_decode_q8_table;
}

TEST("dense decode of narrow weights: every candidate agrees with scalar and with its neighbors") {
  Random random(61);
  for (const TensorType type : kNarrow)
    for (const int64_t outputs : {1, 7, 8, 33})
      for (const int64_t any : {1, 7, 8, 9, 15, 16, 17, 130, 515, 1056, 2080}) {
        const int64_t depth = cols_for(type, any);
        const Weights w(random, type, outputs, depth);
        const std::vector<float> x = random.normals(8 * depth), bias = random.normals(outputs);
        const auto decode = [&](DenseDecodeFunction* function, int64_t rows) {
          std::vector<float> y(static_cast<size_t>(8 * outputs));
          function({x.data(), rows, depth, w.tensor().data, outputs,
                    type == TensorType::kI8 ? w.scales.data() : nullptr, depth % 2 == 0 ? bias.data() : nullptr,
                    y.data(), outputs, 0, rows % 2 == 1});
          return y;
        };
        const std::vector<float> expected = decode(decode_table(type).candidates().back().function, 8);
        for (const auto& candidate : decode_table(type).candidates()) {
          if (!candidate.supported()) continue;
          const std::string name = std::string(type_name(type)) + " " + candidate.name;
          const std::vector<float> all = decode(candidate.function, 8);
          CHECK(test::relative_error(all, expected) <= 5e-6, name);
          for (int64_t rows = 1; rows < 8; ++rows) {
            const std::vector<float> some = decode(candidate.function, rows);
            CHECK(std::equal(some.begin(), some.begin() + rows * outputs, all.begin()), name);
          }
        }
      }
}

TEST("int8: every candidate widens as scalar does, tails of every length, nothing beyond") {
  Random random(62);
  for (int64_t count = 0; count <= 70; ++count) {
    std::vector<int8_t> from;
    for (int64_t i = 0; i < count; ++i) from.push_back(static_cast<int8_t>(random.integer(-128, 127)));
    std::vector<float> expected(static_cast<size_t>(count) + 4, 7.0f);
    scalar::int8_widen(from.data(), 0.37f, expected.data(), count);
    for (const auto& candidate : int8_widen_table.candidates()) {
      if (!candidate.supported()) continue;
      std::vector<float> to(static_cast<size_t>(count) + 4, 7.0f);
      candidate.function(from.data(), 0.37f, to.data(), count);
      CHECK(test::same_bits(to, expected), std::string(candidate.name) + " " + std::to_string(count));
    }
  }
}

TEST("q8: every candidate widens as scalar does, from any block on, tails of every length, nothing beyond") {
  Random random(67);
  constexpr int64_t kCols = 1152;  // more scales than are widened at once
  const Weights w(random, TensorType::kQ8, 2, kCols);
  const Q8Row row = q8_row(w.whole.data() + row_bytes(TensorType::kQ8, kCols), kCols);
  for (const int64_t block : {0, 1, 5, 31, 34})
    for (int64_t count = 0; count <= kCols - block * kQ8Block; count += count < 70 ? 1 : 61) {
      std::vector<float> expected(static_cast<size_t>(count) + 4, 7.0f);
      const auto from = w.values.begin() + kCols + block * kQ8Block;
      std::copy(from, from + count, expected.begin());
      for (const auto& candidate : q8_widen_table.candidates()) {
        if (!candidate.supported()) continue;
        std::vector<float> to(static_cast<size_t>(count) + 4, 7.0f);
        candidate.function(row, block, to.data(), count);
        CHECK(test::same_bits(to, expected), std::string(candidate.name) + " " + std::to_string(count));
      }
    }
}

TEST("q8: every candidate decodes to the bits that it gives for the same weights in f32") {
  Random random(68);
  for (const int64_t outputs : {1, 2, 7, 33})
    for (const int64_t depth : {32, 64, 96, 1024, 1056, 2112})
      for (int64_t rows = 1; rows <= kDecodeRows; ++rows) {
        const Weights w(random, TensorType::kQ8, outputs, depth);
        const std::vector<float> x = random.normals(rows * depth), bias = random.normals(outputs);
        const auto decode = [&](DenseDecodeFunction* function, const void* weights) {
          std::vector<float> y(static_cast<size_t>(rows * outputs));
          function({x.data(), rows, depth, weights, outputs, nullptr, bias.data(), y.data(), outputs, 128, true});
          return y;
        };
        const auto& narrow = dense_decode_q8_table.candidates();
        const auto& wide = dense_decode_f32_table.candidates();
        for (size_t i = 0; i < narrow.size(); ++i) {
          if (!narrow[i].supported()) continue;
          CHECK(test::same_bits(decode(narrow[i].function, w.whole.data()), decode(wide[i].function, w.values.data())),
                std::string(narrow[i].name) + " " + std::to_string(depth));
        }
      }
}

std::vector<Shape> shapes() {
  std::vector<Shape> list;
  for (const int64_t rows : {1, 3, 8, 9, 20})
    for (const auto& [m, n] :
         {std::array<int64_t, 2>{1, 1}, {7, 5}, {33, 130}, {70, 65}, {192, 515}, {65, 1026}, {515, 33}})
      list.push_back({rows, m, n});
  list.push_back({130, 192, 576});
  return list;
}

// Both precisions round the same numbers, so a product of narrow weights has the bits of a product of wide weights.
// Decode of i8 multiplies by the scale at the end instead.
TEST("linear and its gradient: narrow weights give what the same numbers give in f32, any precision and threads") {
  Random random(63);
  for (const Shape& any : shapes())
    for (const TensorType type : kNarrow)
      for (const double precision : {0.0, 1.0}) {
        const Shape s = {any.rows, any.m, cols_for(type, any.n)};
        const Weights w(random, type, s.m, s.n);
        const std::vector<float> x = random.normals(s.rows * s.n), dy = random.normals(s.rows * s.m);
        const std::vector<float> b = random.normals(s.m);
        const std::string name = std::string(type_name(type)) + ", " + s.name();
        const auto forward = [&](const Tensor& weights, const Tensor& scales) {
          return for_any_threads(std::vector<float>(static_cast<size_t>(s.rows * s.m)), name,
                                 [&](ThreadPool& pool, auto& out) {
                                   run_operation(pool, "linear",
                                                 {matrix(x, s.rows, s.n), weights, matrix(b, 1, s.m), scales},
                                                 {matrix(out, s.rows, s.m)}, {precision});
                                 });
        };
        const auto backward = [&](const Tensor& weights, const Tensor& scales) {
          return for_any_threads(std::vector<float>(static_cast<size_t>(s.rows * s.n)), name,
                                 [&](ThreadPool& pool, auto& out) {
                                   run_operation(pool, "linear_gradient_input",
                                                 {matrix(dy, s.rows, s.m), weights, scales}, {matrix(out, s.rows, s.n)},
                                                 {precision});
                                 });
        };
        const Tensor wide = matrix(w.values, s.m, s.n);
        const std::vector<float> y = forward(w.tensor(), w.scale_tensor()), expected = forward(wide, {});
        if (type == TensorType::kI8 && s.rows <= kDecodeRows)
          CHECK(test::relative_error(y, expected) <= 1e-5, name);
        else
          CHECK(test::same_bits(y, expected), name);
        CHECK(test::same_bits(backward(w.tensor(), w.scale_tensor()), backward(wide, {})), name + " gradient");
      }
}

TEST("embedding and widen: rows of narrow tables, exactly") {
  Random random(64);
  for (const TensorType type : kNarrow)
    for (const int64_t any : {1, 5, 64, 67}) {
      const int64_t vocabulary = 11, rows = 300, cols = cols_for(type, any);
      const Weights table(random, type, vocabulary, cols);
      std::vector<int32_t> ids;
      std::vector<float> expected;
      for (int64_t r = 0; r < rows; ++r) {
        ids.push_back(static_cast<int32_t>(random.integer(0, vocabulary - 1)));
        const auto row = table.values.begin() + ids.back() * cols;
        expected.insert(expected.end(), row, row + cols);
      }
      const auto y =
          for_any_threads(std::vector<float>(expected.size()), type_name(type), [&](ThreadPool& pool, auto& out) {
            run_operation(pool, "embedding", {table.tensor(), integers(ids), table.scale_tensor()},
                          {matrix(out, rows, cols)}, {});
          });
      CHECK(y == expected, type_name(type));
      const auto wide =
          for_any_threads(std::vector<float>(table.values.size()), type_name(type), [&](ThreadPool& pool, auto& out) {
            run_operation(pool, "widen", {table.tensor(), table.scale_tensor()}, {matrix(out, vocabulary, cols)}, {});
          });
      CHECK(wide == table.values, type_name(type));
    }
}

struct Quantized {
  std::vector<int8_t> q;
  std::vector<float> scales, error;
};

Quantized quantize(ThreadPool& pool, const std::vector<float>& w, int64_t rows, int64_t cols) {
  Quantized result = {std::vector<int8_t>(w.size()), std::vector<float>(static_cast<size_t>(rows)), {0}};
  run_operation(
      pool, "quantize_int8", {matrix(w, rows, cols)},
      {{result.q.data(), rows, cols, TensorType::kI8}, matrix(result.scales, rows, 1), matrix(result.error, 1, 1)}, {});
  return result;
}

TEST("quantize_int8: nearest whole numbers of a scale that f16 holds, half a scale off at most, any threads") {
  Random random(65);
  for (const auto& [rows, cols] : {std::array<int64_t, 2>{1, 1}, {5, 3}, {300, 130}}) {
    std::vector<float> w = random.normals(rows * cols);
    std::fill(w.begin(), w.begin() + cols, 0.0f);  // a row of zeros
    const Quantized one = quantize(test::one_thread(), w, rows, cols);
    const Quantized three = quantize(test::three_threads(), w, rows, cols);
    CHECK(one.q == three.q && test::same_bits(one.scales, three.scales) && one.error == three.error, "threads");
    double norm = 0, error = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const float scale = one.scales[static_cast<size_t>(r)];
      float largest = 0, again;
      uint16_t half;
      scalar::f16_narrow(&scale, &half, 1);
      scalar::f16_widen(&half, &again, 1);
      CHECK(again == scale, "f16 holds the scale");
      for (int64_t c = 0; c < cols; ++c) {
        const float value = w[static_cast<size_t>(r * cols + c)];
        const float back = scale * static_cast<float>(one.q[static_cast<size_t>(r * cols + c)]);
        largest = std::max(largest, std::fabs(value));
        // the scale is rounded: 127 times it may fall short of the largest by 127 · 2⁻¹¹ scales
        CHECK(std::fabs(value - back) <= 0.5001f * scale, "half a scale");
        norm += static_cast<double>(value) * value;
        error += (static_cast<double>(value) - back) * (static_cast<double>(value) - back);
      }
      CHECK(std::fabs(scale - largest / 127) <= largest / 127 * 0x1p-11f, "scale");
    }
    const double expected = norm > 0 ? std::sqrt(error / norm) : 0;
    CHECK(std::fabs(one.error[0] - expected) <= 1e-6 * expected, "error");
  }
}

TEST("quantize_int8: what is not finite is an error") {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    const std::vector<float> w = {1, 2, bad, 4};
    CHECK(test::throws("MBOK_NON_FINITE", [&] { quantize(test::one_thread(), w, 2, 2); }), std::to_string(bad));
  }
}

TEST("narrow weights: i8 needs scales, nothing else takes them, bits are no weights, q8 is of whole blocks") {
  Random random(66);
  const Weights i8(random, TensorType::kI8, 3, 2), f16(random, TensorType::kF16, 3, 2);
  const std::vector<float> x(4), y(6);
  const auto linear = [&](const Tensor& w, const Tensor& scales) {
    run_operation(test::one_thread(), "linear", {matrix(x, 2, 2), w, {}, scales}, {matrix(y, 2, 3)}, {0});
  };
  linear(i8.tensor(), i8.scale_tensor());
  for (const auto& [w, scales] : {std::array<Tensor, 2>{i8.tensor(), Tensor{}},
                                  {i8.tensor(), matrix(i8.scales, 1, 3)},
                                  {f16.tensor(), i8.scale_tensor()},
                                  {test::bit_matrix(std::vector<uint64_t>(3), 3, 2), Tensor{}}})
    CHECK(test::throws("MBOK_SHAPE", [&, w = w, scales = scales] { linear(w, scales); }), "accepted");
  const Weights q8(random, TensorType::kQ8, 3, 32);
  const auto wide = [&](int64_t cols, const Tensor& scales) {
    const std::vector<float> tokens(static_cast<size_t>(2 * cols));
    const Tensor w = {q8.tensor().data, 3, cols, TensorType::kQ8};
    run_operation(test::one_thread(), "linear", {matrix(tokens, 2, cols), w, {}, scales}, {matrix(y, 2, 3)}, {0});
  };
  wide(32, {});
  CHECK(test::throws("MBOK_SHAPE", [&] { wide(31, {}); }), "accepted");
  CHECK(test::throws("MBOK_SHAPE", [&] { wide(32, i8.scale_tensor()); }), "accepted");
}

}  // namespace
}  // namespace mbok
