// Bits in tiles: their order, and layers computed from them by look-up tables.
#include <cfloat>
#include <cmath>
#include <cstring>

#include "kernels/bit_tiles/bit_tiles.h"
#include "kernels/boolean_lookup/boolean_lookup.h"
#include "gradient_check.h"
#include "run.h"

namespace mbok {
namespace {

using test::bit_matrix;
using test::matrix;
using test::Random;

std::vector<uint8_t> tiled(const std::vector<uint64_t>& bits, int64_t kernels, int64_t m, int64_t n) {
  const int64_t words = words_per_row(n), tiles = (m + kTileRows - 1) / kTileRows;
  std::vector<uint8_t> out(static_cast<size_t>(kernels * tiles * words * kBlockBytes), 0);
  for (int64_t k = 0; k < kernels; ++k)
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; j += 8) {
        const int64_t block = (k * tiles + i / 64) * words + j / 64;
        const uint64_t word = bits[static_cast<size_t>((k * m + i) * words + j / 64)];
        out[static_cast<size_t>(block * kBlockBytes + j % 64 * 8 + i % 64)] = static_cast<uint8_t>(word >> j % 64);
      }
  return out;
}

Tensor tiles_tensor(std::vector<uint8_t>& tiles, int64_t kernels, int64_t m, int64_t n) {
  return {tiles.data(), kernels * ((m + 63) / 64) * 64, n, TensorType::kBitTiles};
}

TEST("arrange_bits: tiles as they are defined, and back to the same rows") {
  Random random(71);
  for (const int64_t kernels : {1, 3})
    for (const int64_t m : {1, 63, 64, 65, 200})
      for (const int64_t n : {1, 8, 63, 64, 100, 640}) {
        const std::string name = std::to_string(kernels) + " x " + std::to_string(m) + " x " + std::to_string(n);
        std::vector<uint64_t> bits = random.bits(kernels * m, n), back(bits.size(), ~uint64_t{0});
        const std::vector<uint8_t> expected = tiled(bits, kernels, m, n);
        std::vector<uint8_t> got(expected.size(), 0xff);
        ThreadPool& pool = test::three_threads();
        test::run_operation(pool, "arrange_bits", {bit_matrix(bits, kernels * m, n)},
                            {tiles_tensor(got, kernels, m, n)}, {static_cast<double>(kernels)});
        CHECK(got == expected, name);
        test::run_operation(pool, "arrange_bits", {tiles_tensor(got, kernels, m, n)},
                            {bit_matrix(back, kernels * m, n)}, {static_cast<double>(kernels)});
        CHECK(back == bits, name);
      }
}

TEST("bit planes: bit i of plane j is column j of row i") {
  Random random(72);
  std::vector<uint8_t> block(static_cast<size_t>(kBlockBytes));
  for (uint8_t& byte : block) byte = static_cast<uint8_t>(random.next());
  test::for_each_candidate(bit_planes_table, [&](auto* function, const std::string& name) {
    uint64_t planes[64];
    function(block.data(), planes);
    bool right = true;
    for (size_t j = 0; j < 64; ++j)
      for (size_t i = 0; i < 64; ++i) right = right && (planes[j] >> i & 1) == (block[j / 8 * 64 + i] >> j % 8 & 1u);
    CHECK(right, name);
  });
}

TEST("lookup tables: every candidate makes those of scalar, which hold the inputs as closely as is promised") {
  Random random(73);
  for (const int64_t n : {1, 5, 64, 65, 300})
    for (const int64_t parts : {1, 2, 3})
      for (const float size : {1.0f, 1e-30f, 1e30f, 1e-42f, 0.0f}) {
        const int64_t words = words_per_row(n);
        std::vector<float> x = random.normals(n);
        const std::vector<float> s_in = random.normals(n);
        for (float& value : x) value *= size;
        const auto build = [&](LookupTablesFunction* function) {
          std::pair<std::vector<uint8_t>, std::vector<float>> out = {
              std::vector<uint8_t>(static_cast<size_t>(parts * words * kLookupBytes), 0xaa),
              std::vector<float>(static_cast<size_t>(parts * words), -1.0f)};
          function({x.data(), s_in.data(), n, parts, words}, out.first.data(), out.second.data());
          return out;
        };
        const auto expected = build(lookup_tables_table.candidates().back().function);
        const std::string name = std::to_string(n) + ", " + std::to_string(parts) + " parts, " + std::to_string(size);
        test::for_each_candidate(lookup_tables_table, [&](auto* function, const std::string& candidate) {
          CHECK(build(function) == expected, name + " " + candidate);
        });
        for (int64_t word = 0; word < words; ++word) {
          double largest = 0, worst = 0;
          for (int64_t j = 64 * word; j < 64 * word + 64 && j < n; ++j) {
            const size_t at = static_cast<size_t>(j);
            const double value = static_cast<double>(x[at] * s_in[at]);
            double held = 0;
            for (int64_t part = 0; part < parts; ++part) {
              // entries with and without the input's bit differ by 2q
              const uint8_t* table = expected.first.data() + (part * words + word) * kLookupBytes + j % 64 / 4 * 32;
              const auto entry = [&](int set) { return table[set] + (table[16 + set] - kHighBias) * (1 << kLowBits); };
              held += (entry(1 << j % 4) - entry(0)) / 2.0 *
                      static_cast<double>(expected.second[static_cast<size_t>(part * words + word)]);
            }
            largest = std::fmax(largest, std::fabs(value));
            worst = std::fmax(worst, std::fabs(value - held));
          }
          // a part whose scale would have no finite reciprocal is zero
          CHECK(worst <= largest * 1.01 * std::pow(1022.0, static_cast<double>(-parts)) + 511 * FLT_MIN, name);
        }
      }
}

struct Layer {
  Layer(Random& random, int64_t kernels, int64_t m, int64_t n)
      : bits(random.bits(kernels * m, n)),
        tiles(tiled(bits, kernels, m, n)),
        s_out(random.normals(kernels * m)),
        s_in(random.normals(kernels * n)),
        bias(random.normals(m)) {}
  std::vector<uint64_t> bits;
  std::vector<uint8_t> tiles;
  std::vector<float> s_out, s_in, bias;
};

TEST("boolean lookup: every candidate gives the bits of scalar") {
  Random random(74);
  for (const int64_t kernels : {1, 2, 5})
    for (const int64_t m : {1, 9, 64, 65, 128, 190, 300})
      for (const int64_t n : {1, 64, 130, 515})
        for (const int64_t parts : {1, 2, 3}) {
          const int64_t words = words_per_row(n);
          const Layer w(random, kernels, m, n);
          const std::vector<float> x = random.normals(n);
          std::vector<uint8_t> tables(static_cast<size_t>(kernels * parts * words * kLookupBytes));
          std::vector<float> scales(static_cast<size_t>(kernels * parts * words));
          for (int64_t k = 0; k < kernels; ++k)
            lookup_tables_table.best()({x.data(), w.s_in.data() + k * n, n, parts, words},
                                       tables.data() + k * parts * words * kLookupBytes,
                                       scales.data() + k * parts * words);
          const auto run = [&](BooleanLookupFunction* function, const float* bias) {
            std::vector<float> y(static_cast<size_t>(m) + 1, 7.0f);
            function({w.tiles.data(), (m + 63) / 64 * words * kBlockBytes, words, kernels, parts, tables.data(),
                      scales.data(), w.s_out.data(), m, m, bias, y.data()});
            return y;
          };
          for (const float* bias : {static_cast<const float*>(nullptr), w.bias.data()}) {
            const std::vector<float> expected = run(boolean_lookup_table.candidates().back().function, bias);
            CHECK(expected.back() == 7.0f, "writes past its outputs");
            test::for_each_candidate(boolean_lookup_table, [&](auto* function, const std::string& name) {
              CHECK(run(function, bias) == expected, name + " " + std::to_string(kernels) + " x " + std::to_string(m) +
                                                         " x " + std::to_string(n) + ", " + std::to_string(parts));
            });
          }
        }
}

TEST("multi_boolean_linear: tiles give what rows give, in any number of rows and threads") {
  Random random(75);
  for (const int64_t kernels : {1, 2, 4})
    for (const auto& [m, n] : {std::pair<int64_t, int64_t>{5, 70}, {64, 64}, {200, 130}, {129, 1000}})
      for (const int64_t rows : {1, 2, 3, 9, 32, 70, 600})
        for (const int precision : {0, 1}) {
          Layer w(random, kernels, m, n);
          std::vector<float> x = random.normals(rows * n);
          const auto run = [&](ThreadPool& pool, const Tensor& bits) {
            std::vector<float> y(static_cast<size_t>(rows * m));
            test::run_operation(pool, "multi_boolean_linear",
                                {matrix(x, rows, n), bits, matrix(w.s_out, kernels, m), matrix(w.s_in, kernels, n),
                                 matrix(w.bias, 1, m)},
                                {matrix(y, rows, m)}, {static_cast<double>(precision)});
            return y;
          };
          const Tensor tiles = tiles_tensor(w.tiles, kernels, m, n);
          const std::vector<float> expected = run(test::one_thread(), bit_matrix(w.bits, kernels * m, n));
          const std::vector<float> got = run(test::one_thread(), tiles);
          const std::string name = std::to_string(kernels) + " x " + std::to_string(m) + " x " + std::to_string(n) +
                                   ", rows " + std::to_string(rows) + ", precision " + std::to_string(precision);
          const double error = test::relative_error(got, expected);
          CHECK(error < (precision == 0 ? 2e-6 : 6e-3), name + ": " + std::to_string(error));
          CHECK(run(test::three_threads(), tiles) == got, name + " three threads");
        }
}

TEST("multi_boolean_linear: inputs that are not finite make outputs that are not") {
  Random random(76);
  const int64_t m = 70, n = 100;
  Layer w(random, 2, m, n);
  std::vector<float> x = random.normals(n), y(static_cast<size_t>(m));
  for (const float bad : {NAN, INFINITY}) {
    x[80] = bad;
    test::run_operation(test::one_thread(), "multi_boolean_linear",
                        {matrix(x, 1, n), tiles_tensor(w.tiles, 2, m, n), matrix(w.s_out, 2, m), matrix(w.s_in, 2, n)},
                        {matrix(y, 1, m)}, {1});
    for (const float value : y) CHECK(!std::isfinite(value), std::to_string(value));
  }
}

}  // namespace
}  // namespace mbok
