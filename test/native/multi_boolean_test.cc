// Multi-Boolean weights: the kernels that rebuild them against scalar, then the operations against the definition.
#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/bit_tiles/bit_tiles.h"
#include "kernels/boolean_decode/boolean_decode.h"
#include "kernels/boolean_panel/boolean_panel.h"
#include "kernels/dense_panel/dense_panel.h"
#include "kernels/dense_product/dense_product.h"
#include "run.h"

namespace mbok {
namespace {

using test::bit_matrix;
using test::matrix;
using test::Random;
using test::one_thread;
using test::run_operation;
using test::three_threads;

TEST("bit transpose: out[j] bit i is rows[i] bit j") {
  Random random(21);
  for (const int64_t count : {0, 1, 7, 63, 64}) {
    const int64_t stride = 3;
    std::vector<uint64_t> rows(static_cast<size_t>(64 * stride));
    for (uint64_t& word : rows) word = random.next();
    for (const auto& candidate : bit_transpose_table.candidates()) {
      if (!candidate.supported()) continue;
      uint64_t out[64];
      candidate.function(rows.data(), stride, count, out);
      bool right = true;
      for (int64_t i = 0; i < 64; ++i)
        for (int64_t j = 0; j < 64; ++j) {
          const uint64_t expected = i < count ? rows[static_cast<size_t>(i * stride)] >> j & 1 : 0;
          right = right && (out[j] >> i & 1) == expected;
        }
      CHECK(right, candidate.name);
    }
  }
}

TEST("boolean panel: every candidate rebuilds the same bits as scalar") {
  Random random(22);
  for (const auto* table : {&boolean_panel_f32_table, &boolean_panel_bf16_table})
    for (int64_t kernels = 1; kernels <= 8; ++kernels)
      for (const int64_t depth : {1, 2, 33, 256}) {
        std::vector<uint64_t> signs(static_cast<size_t>(kernels * depth * 2));
        for (uint64_t& word : signs) word = random.next();
        const std::vector<float> along = random.normals(kernels * (depth + 3)), across = random.normals(kernels * 64);
        const auto rebuild = [&](BooleanPanelFunction* function) {
          std::vector<float> panel(static_cast<size_t>(depth * 64), 0.0f);
          function({signs.data(), depth * 2, 2, along.data(), depth + 3, across.data(), kernels, depth}, panel.data());
          return panel;
        };
        const std::vector<float> expected = rebuild(table->candidates().back().function);
        for (const auto& candidate : table->candidates())
          if (candidate.supported())
            CHECK(std::memcmp(rebuild(candidate.function).data(), expected.data(), expected.size() * 4) == 0,
                  std::string(table->name()) + " " + candidate.name);
      }
}

TEST("a matrix unit rebuilds the panels that scalar does, between its tiles or alone, and multiplies them alike") {
  DenseProductFunction* multiply = nullptr;
  for (const auto& candidate : dense_product_bf16_table.candidates())
    if (candidate.name == std::string("avx512_amx") && candidate.supported()) multiply = candidate.function;
  if (multiply == nullptr) return;
  Random random(25);
  for (int64_t kernels = 1; kernels <= 8; ++kernels)
    for (const int64_t cols : {1, 31, 33, 64, 100, 256})
      for (const int64_t depth : {1, 2, 63, 64, 130, 320})
        for (const int64_t rows : {0, 3, 70}) {
          const int64_t panels = (cols + 63) / 64, words = (depth + 63) / 64, steps = words * 32;
          const int64_t tile_bytes = words * kBlockBytes, kernel_bytes = panels * tile_bytes;
          std::vector<uint8_t> tiles(static_cast<size_t>(kernels * kernel_bytes));
          for (uint8_t& byte : tiles) byte = static_cast<uint8_t>(random.next());
          const std::vector<float> along = random.normals(kernels * depth), across = random.normals(kernels * cols);

          std::vector<float> expected(static_cast<size_t>(panels * steps * kPanelCols), 0.0f);
          for (int64_t panel = 0; panel < panels; ++panel) {
            std::vector<uint64_t> signs(static_cast<size_t>(kernels * words * 64));
            std::vector<float> magnitudes(static_cast<size_t>(kernels * kPanelCols), 0.0f);
            for (int64_t k = 0; k < kernels; ++k) {
              for (int64_t word = 0; word < words; ++word)
                bit_planes_table.candidates().back().function(tiles.data() + k * kernel_bytes + panel * tile_bytes +
                                                                  word * kBlockBytes,
                                                              signs.data() + (k * words + word) * 64);
              for (int64_t j = 0; j < std::min<int64_t>(kPanelCols, cols - panel * kPanelCols); ++j)
                magnitudes[static_cast<size_t>(k * kPanelCols + j)] =
                    across[static_cast<size_t>(k * cols + panel * kPanelCols + j)];
            }
            boolean_panel_bf16_table.candidates().back().function({signs.data(), words * 64, 1, along.data(), depth,
                                                                   magnitudes.data(), kernels, depth},
                                                                  expected.data() + panel * steps * kPanelCols);
          }

          // with a product of `rows` rows, whose result the rebuild must not change
          const int64_t pairs = (depth + 1) / 2;
          std::vector<float> a(static_cast<size_t>(std::max<int64_t>(1, rows) * pairs)), rebuilt(expected.size(), 0.0f),
              c(static_cast<size_t>(rows * cols)), c_alone = c;
          std::vector<uint16_t> numbers(a.size() * 2);
          const std::vector<float> values = random.normals(static_cast<int64_t>(numbers.size()));
          bf16_convert_table.candidates().back().function(values.data(), 1, static_cast<int64_t>(numbers.size()),
                                                          numbers.data());
          std::memcpy(a.data(), numbers.data(), a.size() * 4);
          ProductBlock block = {a.data(), pairs, 1,     expected.data(), c_alone.data(), cols,
                                rows,     cols,  pairs, false,           nullptr,        steps * kPanelCols};
          multiply(block);
          const BooleanPanels source = {tiles.data(), kernel_bytes,  tile_bytes,     along.data(),
                                        depth,        across.data(), cols,           kernels,
                                        cols,         depth,         rebuilt.data(), steps * kPanelCols};
          block.c = c.data();
          block.rebuild = &source;
          multiply(block);
          const std::string name = std::to_string(kernels) + " kernels, " + std::to_string(rows) + " x " +
                                   std::to_string(cols) + " x " + std::to_string(depth);
          CHECK(c == c_alone, name);
          block.rebuild = nullptr;
          block.rebuilt = true;
          block.b = rebuilt.data();
          std::fill(c.begin(), c.end(), 0.0f);
          multiply(block);
          CHECK(c == c_alone, "from what was rebuilt: " + name);

          bool same = true;
          for (int64_t panel = 0; panel < panels; ++panel)
            for (int64_t step = 0; step < pairs; ++step)
              for (int64_t half = 0; half < 2; ++half)
                same = same && std::memcmp(expected.data() + (panel * steps + step) * kPanelCols + half * kStripCols,
                                           rebuilt.data() + ((2 * panel + half) * steps + step) * kStripCols,
                                           kStripCols * sizeof(float)) == 0;
          CHECK(same, name);
        }
}

TEST("boolean decode: every candidate agrees with scalar, and a row does not depend on its neighbors") {
  Random random(25);
  for (int64_t kernels = 1; kernels <= 8; ++kernels)
    for (const int64_t outputs : {1, 7, 8, 9, 21})
      for (const int64_t n : {1, 15, 64, 65, 192, 515}) {
        const int64_t words = words_per_row(n), padded = 64 * words;
        const std::vector<float> x = random.normals(8 * n), s_in = random.normals(kernels * n);
        const auto scale = [&](DecodeScaleFunction* function) {
          std::vector<float> scaled(static_cast<size_t>(8 * kernels * padded), 1.0f);
          for (int64_t i = 0; i < 8 * kernels; ++i)
            function(x.data() + i / kernels * n, s_in.data() + i % kernels * n, n, scaled.data() + i * padded);
          return scaled;
        };
        const std::vector<float> scaled = scale(decode_scale_table.candidates().back().function);
        for (const auto& candidate : decode_scale_table.candidates())
          CHECK(!candidate.supported() || scale(candidate.function) == scaled, candidate.name);
        const std::vector<uint64_t> bits = random.bits(kernels * outputs, n);
        const std::vector<float> s_out = random.normals(kernels * outputs), bias = random.normals(outputs);
        const auto decode = [&](BooleanDecodeFunction* function, int64_t rows) {
          std::vector<float> y(static_cast<size_t>(8 * outputs));
          function({scaled.data(), rows, kernels, bits.data(), words, outputs * words, s_out.data(), outputs, outputs,
                    n % 2 == 0 ? bias.data() : nullptr, y.data(), outputs});
          return y;
        };
        const std::vector<float> expected = decode(boolean_decode_table.candidates().back().function, 8);
        for (const auto& candidate : boolean_decode_table.candidates()) {
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

// A random layer and its weights by the definition.
struct Layer {
  int64_t kernels, m, n;
  std::vector<uint64_t> bits;
  std::vector<float> s_out, s_in;
  std::vector<double> w;

  Layer(Random& random, int64_t kernels_, int64_t m_, int64_t n_)
      : kernels(kernels_),
        m(m_),
        n(n_),
        bits(random.bits(kernels * m, n)),
        s_out(random.normals(kernels * m)),
        s_in(random.normals(kernels * n)),
        w(static_cast<size_t>(m * n)) {
    for (int64_t k = 0; k < kernels; ++k)
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          const uint64_t word = bits[static_cast<size_t>((k * m + i) * words_per_row(n) + j / 64)];
          const double sign = word >> (j % 64) & 1 ? 1 : -1;
          w[static_cast<size_t>(i * n + j)] +=
              sign * s_out[static_cast<size_t>(k * m + i)] * s_in[static_cast<size_t>(k * n + j)];
        }
  }
  std::vector<Tensor> behind(const Tensor& first) const {
    return {first, bit_matrix(bits, kernels * m, n), matrix(s_out, kernels, m), matrix(s_in, kernels, n)};
  }
  std::string name(int64_t rows) const {
    return std::to_string(rows) + " rows, K = " + std::to_string(kernels) + ", " + std::to_string(m) + " x " +
           std::to_string(n);
  }
};

constexpr std::array<int64_t, 2> kSizes[] = {{1, 1}, {3, 64}, {64, 33}, {65, 130}, {130, 65}, {192, 192}, {40, 515}};

double tolerance(double precision, int64_t results) {
  const double canceling = results < 10 ? 200 : results < 100 ? 20 : 1;  // with few results one may cancel
  return (precision == 0 ? 2e-6 : 1e-2) * canceling;
}

TEST("reconstruct: the definition for K = 1 to 8") {
  Random random(23);
  for (int64_t kernels = 1; kernels <= 8; ++kernels)
    for (const auto& [m, n] : kSizes) {
      const Layer layer(random, kernels, m, n);
      std::vector<float> w(layer.w.size()), again(layer.w.size());
      std::vector<Tensor> inputs = layer.behind({});
      inputs.erase(inputs.begin());
      run_operation(one_thread(), "reconstruct", inputs, {matrix(w, m, n)}, {});
      run_operation(three_threads(), "reconstruct", inputs, {matrix(again, m, n)}, {});
      CHECK(w == again, "threads");
      CHECK(test::relative_error(w, std::vector<float>(layer.w.begin(), layer.w.end())) <= tolerance(0, m * n),
            layer.name(0));
    }
}

TEST("multi-Boolean linear and its input gradient: the definition for K = 1 to 8, decoding and prompts") {
  Random random(24);
  for (int64_t kernels = 1; kernels <= 8; ++kernels)
    for (const auto& [m, n] : kSizes) {
      const Layer layer(random, kernels, m, n);
      const std::vector<float> bias = random.normals(m);
      for (const int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 33, 130}) {
        const std::vector<float> x = random.normals(rows * n), dy = random.normals(rows * m);
        const bool biased = random.integer(0, 1) == 1;
        std::vector<float> y_expected, dx_expected;
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t i = 0; i < m; ++i) {
            double sum = biased ? bias[static_cast<size_t>(i)] : 0.0;
            for (int64_t j = 0; j < n; ++j)
              sum += x[static_cast<size_t>(r * n + j)] * layer.w[static_cast<size_t>(i * n + j)];
            y_expected.push_back(static_cast<float>(sum));
          }
          for (int64_t j = 0; j < n; ++j) {
            double sum = 0;
            for (int64_t i = 0; i < m; ++i)
              sum += dy[static_cast<size_t>(r * m + i)] * layer.w[static_cast<size_t>(i * n + j)];
            dx_expected.push_back(static_cast<float>(sum));
          }
        }
        for (const double precision : {0.0, 1.0}) {
          std::vector<float> y(y_expected.size()), y3(y.size()), dx(dx_expected.size()), dx3(dx.size());
          std::vector<Tensor> inputs = layer.behind(matrix(x, rows, n));
          if (biased) inputs.push_back(matrix(bias, 1, m));
          run_operation(one_thread(), "multi_boolean_linear", inputs, {matrix(y, rows, m)}, {precision});
          run_operation(three_threads(), "multi_boolean_linear", inputs, {matrix(y3, rows, m)}, {precision});
          CHECK(y == y3, "threads: " + layer.name(rows));
          CHECK(test::relative_error(y, y_expected) <= tolerance(precision, rows * m), "y, " + layer.name(rows));
          inputs = layer.behind(matrix(dy, rows, m));
          run_operation(one_thread(), "multi_boolean_gradient_input", inputs, {matrix(dx, rows, n)}, {precision});
          run_operation(three_threads(), "multi_boolean_gradient_input", inputs, {matrix(dx3, rows, n)}, {precision});
          CHECK(dx == dx3, "threads: " + layer.name(rows));
          CHECK(test::relative_error(dx, dx_expected) <= tolerance(precision, rows * n), "dx, " + layer.name(rows));
        }
      }
    }
}

}  // namespace
}  // namespace mbok
